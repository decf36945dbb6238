// Validators of the user's choice: zod, valibot, arktype and others have this form (Standard Schema).

export interface StandardSchema<Output> {
  readonly '~standard': {
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
  };
}

export interface SchemaIssue {
  readonly message: string;
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

export type SchemaResult<Output> = { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] };

/** Which fields are wrong, and why, on one line. */
export const issuesOf = (issues: readonly SchemaIssue[]): string =>
  issues.map(({ message, path }) => `${(path ?? []).map((each) => String(typeof each === 'object' ? each.key : each)).join('.') || 'record'}: ${message}`).join('; ');
