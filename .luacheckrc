std = "lua51"
read_globals = {"redis", "KEYS", "ARGV"}
max_line_length = 140
exclude_files = {"lua/shared"} -- Linted where they stand, in the scripts.
