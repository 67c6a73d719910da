/** `process.env`, in the form of Node's types, so that the two can be there together. */

declare global {
  namespace NodeJS {
    interface ProcessEnv {
      [name: string]: string | undefined;
    }
    interface Process {
      /** The deployment's environment variables (`bitbend env`); functions can only read them. */
      env: ProcessEnv;
    }
  }
  var process: NodeJS.Process;
}
export {};
