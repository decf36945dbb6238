std = "lua51"
read_globals = {"redis", "KEYS", "ARGV"}
max_line_length = 145
exclude_files = {"lua/shared"} -- Linted where they stand, in the scripts.
files["lua/conformance/entries"].read_globals = {"bit", "struct"} -- What every Redis has besides.
