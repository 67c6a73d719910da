/** Values, validators and errors: shared by functions and clients. */

export { compareValues } from "./compare.js";
export { decodeValue, encodeValue, ValueError } from "./encode.js";
export { BitBendError, isBitBendError } from "./errors.js";
export { asValidator, isValidator, v, validate, ValidationError } from "./validators.js";
