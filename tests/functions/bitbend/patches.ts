// What an application with old polyfills does: it changes built-in objects while it is loaded.
(Array.prototype as any).lastOne = function (this: unknown[]) { return this[this.length - 1]; };
(globalThis as any).Legacy = class Legacy {};
declare global { var bareName: number | undefined; }
globalThis.bareName = 7;
export {};
