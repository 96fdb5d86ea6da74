// What humanize.js gives, for the type checker.
import type { Call, Counts, Link, Run, Usage } from "./types.js";

type Milliseconds = number | null | undefined;

export function duration(ms: Milliseconds): string;
export function roughly(ms: Milliseconds): string;
export function ticking(ms: number): string;
export function clock(ms: number): string;
export function count(number: number): string;
export function size(length: number): string;
export function gist(text: string): string;
export function markdownGist(text: string): string;
export function isBlank(text: string): boolean;
export function isLong(message: string): boolean;
export function telling(args: unknown): { text: string; code: boolean };
export function asJson(value: unknown): string;
export function returned(content: string): string;
export function icon(toolName: string): string;
export function did(toolNames: string[], thoughts?: number): string;
export const atWorkLine: string;
export function steps(number: number): string;
export function tools(number: number): string;
export function failed(number: number): string;
export function joined(...parts: (string | null | undefined)[]): string;
export function thoughtFor(ms: Milliseconds): string;
export function atOnce(number: number): string;
export function showing(shown: number, whole: number): string;
export function iterationOf(number: number, limit: number): string;
export function usage(used: Usage): string;
export function status(
  name: string,
  more?: { using?: string[]; growing?: string; begun?: boolean; by?: string | null; limit?: number },
): string;
export function dot(name: string): string;
export function cause(code: string): string;
export function endIcon(name: string): string;
export function trouble(run: Run, counts: Counts): { tone: string; icon: string; title: string; text: string } | null;
export function endline(run: Run, counts: Counts): string;
export function callState(run: Run, call: Call, isBroken: boolean): [string, string];
export function errorText(error: any): string;
export function initials(name: string): string;
export function tint(name: string): string;
export function connection(link: Link): { label: string; sub: string; tone: string; more: string };
export const SENTENCES: Readonly<Record<string, any>>;
