// DOMException, Event, EventTarget, AbortController, AbortSignal.
"use strict";

const CODES = {
  IndexSizeError: 1, HierarchyRequestError: 3, WrongDocumentError: 4, InvalidCharacterError: 5,
  NoModificationAllowedError: 7, NotFoundError: 8, NotSupportedError: 9, InUseAttributeError: 10,
  InvalidStateError: 11, SyntaxError: 12, InvalidModificationError: 13, NamespaceError: 14,
  InvalidAccessError: 15, TypeMismatchError: 17, SecurityError: 18, NetworkError: 19,
  AbortError: 20, URLMismatchError: 21, QuotaExceededError: 22, TimeoutError: 23,
  InvalidNodeTypeError: 24, DataCloneError: 25,
};

class DOMException extends Error {
  #name;
  constructor(message = "", options = "Error") {
    const isObject = typeof options === "object" && options !== null;
    super(String(message), isObject && "cause" in options ? { cause: options.cause } : undefined);
    this.#name = String(isObject ? (options.name ?? "Error") : options);
  }
  get name() {
    return this.#name;
  }
  get code() {
    return Object.hasOwn(CODES, this.#name) ? CODES[this.#name] : 0;
  }
}

class Event {
  #type;
  #bubbles;
  #cancelable;
  #isCanceled = false;
  #isStopped = false;
  #target = null;
  constructor(type, options = {}) {
    if (arguments.length === 0) {
      throw new TypeError("Event needs a type");
    }
    this.#type = String(type);
    this.#bubbles = Boolean(options?.bubbles);
    this.#cancelable = Boolean(options?.cancelable);
  }
  get type() {
    return this.#type;
  }
  get bubbles() {
    return this.#bubbles;
  }
  get cancelable() {
    return this.#cancelable;
  }
  get defaultPrevented() {
    return this.#isCanceled;
  }
  get target() {
    return this.#target;
  }
  get currentTarget() {
    return this.#target;
  }
  get timeStamp() {
    return 0;
  }
  get isTrusted() {
    return false;
  }
  preventDefault() {
    this.#isCanceled ||= this.#cancelable;
  }
  stopPropagation() {}
  stopImmediatePropagation() {
    this.#isStopped = true;
  }
  static aim(event, target) {
    event.#target = target;
    event.#isStopped = false;
  }
  static isStopped(event) {
    return event.#isStopped;
  }
}
const { aim, isStopped } = Event;
delete Event.aim;
delete Event.isStopped;

class CustomEvent extends Event {
  #detail;
  constructor(type, options = {}) {
    super(type, options);
    this.#detail = options?.detail ?? null;
  }
  get detail() {
    return this.#detail;
  }
}

class EventTarget {
  #listeners = new Map();
  addEventListener(type, listener, options = {}) {
    if (listener === null || listener === undefined) {
      return;
    }
    const list = this.#listeners.get(String(type)) ?? [];
    this.#listeners.set(String(type), list);
    const once = typeof options === "object" && options !== null && Boolean(options.once);
    if (!list.some((entry) => entry.listener === listener)) {
      list.push({ listener, once });
    }
  }
  removeEventListener(type, listener) {
    const list = this.#listeners.get(String(type)) ?? [];
    this.#listeners.set(String(type), list.filter((entry) => entry.listener !== listener));
  }
  dispatchEvent(event) {
    if (!(event instanceof Event)) {
      throw new TypeError("dispatchEvent takes an Event");
    }
    aim(event, this);
    for (const entry of [...(this.#listeners.get(event.type) ?? [])]) {
      if (entry.once) {
        this.removeEventListener(event.type, entry.listener);
      }
      if (typeof entry.listener === "function") {
        Reflect.apply(entry.listener, this, [event]);
      } else {
        entry.listener.handleEvent(event);
      }
      if (isStopped(event)) {
        break;
      }
    }
    return !event.defaultPrevented;
  }
}

const SECRET = {};
class AbortSignal extends EventTarget {
  #isAborted = false;
  #reason = undefined;
  #onabort = null;
  #listens = false;
  constructor(secret) {
    if (secret !== SECRET) {
      throw new TypeError("Illegal constructor: use an AbortController");
    }
    super();
  }
  get onabort() {
    return this.#onabort;
  }
  // Its place among the listeners is that of the first assignment.
  set onabort(handler) {
    this.#onabort = typeof handler === "function" ? handler : null;
    if (!this.#listens && this.#onabort !== null) {
      this.#listens = true;
      this.addEventListener("abort", (event) => this.#onabort?.(event));
    }
  }
  get aborted() {
    return this.#isAborted;
  }
  get reason() {
    return this.#reason;
  }
  throwIfAborted() {
    if (this.#isAborted) {
      throw this.#reason;
    }
  }
  static abort(reason) {
    const signal = new AbortSignal(SECRET);
    abort(signal, reason);
    return signal;
  }
  static any(signals) {
    const signal = new AbortSignal(SECRET);
    for (const source of signals) {
      if (source.aborted) {
        abort(signal, source.reason);
        return signal;
      }
    }
    for (const source of signals) {
      source.addEventListener("abort", () => abort(signal, source.reason));
    }
    return signal;
  }
  static timeout() {
    throw internals.error(
      "NotAvailableHere",
      "AbortSignal.timeout: queries and mutations have no timers; use an action",
    );
  }
  static fire(signal, reason) {
    if (signal.#isAborted) {
      return;
    }
    signal.#isAborted = true;
    signal.#reason =
      reason === undefined ? new DOMException("This operation was aborted", "AbortError") : reason;
    signal.dispatchEvent(new Event("abort"));
  }
}
const abort = AbortSignal.fire;
delete AbortSignal.fire;

class AbortController {
  #signal = new AbortSignal(SECRET);
  get signal() {
    return this.#signal;
  }
  abort(reason) {
    abort(this.#signal, reason);
  }
}

internals.DOMException = DOMException;
Object.assign(internals.web, {
  DOMException, Event, CustomEvent, EventTarget, AbortSignal, AbortController,
});
