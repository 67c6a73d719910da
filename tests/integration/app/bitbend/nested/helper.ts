export function thrower(text: string): never {
  throw new Error(text);
}
