#!/usr/bin/env bash
# Checks entries.jsonl with nothing but bash, redis-cli and the Lua of a Redis, by the modules in entries/:
#   entries.sh [HOST] [PORT]
# It reads and writes no key there. It prints a line for each entry, as TAP; the status is 1 if one fails, and 2 if
# they could not be run. Who needs msgpack, lz4 frames or gzip for a new language can read them in the modules.
set -u
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
case ${1:-} in -*) sed -n '2,5s/^# //p' "$0"; exit 2 ;; esac

# One script of all modules. Each gets those before it.
script=$'#!lua flags=no-writes\nlocal use = {}\n'
for module in bytes json msgpack lz4 gzip vectors; do
  script+="use.$module = (function(...) $(<"$here/entries/$module.lua")"$'\nend)(use)\n'
done
script+='return use.vectors(ARGV[1])'

said=$(redis-cli -h "${1:-127.0.0.1}" -p "${2:-6379}" -x EVAL "$script" 0 <"$here/entries.jsonl") || exit 2
mapfile -t lines <"$here/entries.jsonl"
if [ "${said##*$'\n'}" != "1..${#lines[@]}" ]; then
  echo "Bail out! Redis has not checked the ${#lines[@]} lines: $said"
  exit 2
fi
echo "$said"
[[ $'\n'$said != *$'\nnot ok '* ]]
