#!/usr/bin/env bash
# Checks routing.jsonl with nothing but bash 4.4 or newer: the bytes of each key, their hash, their partitions.
#   routing.sh
# It prints a line for each key, as TAP; the status is 1 if one fails. A client in any language can read xxh64 here.
set -u
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)

# Arithmetic of bash has 64 bits and wraps around, as xxh64 wants it. These are its five primes, as signed numbers.
P1=$((0x9E3779B185EBCA87)) P2=$((0xC2B2AE3D27D4EB4F)) P3=$((0x165667B19E3779F9))
P4=$((0x85EBCA77C2B2AE63)) P5=$((0x27D4EB2F165667C5))

shifted() {  # sets `found` to $1 shifted to the right by $2 bits, without its sign
  found=$((($1 >> $2) & ((1 << (64 - $2)) - 1)))
}

rotated() {  # sets `found` to $1 rotated to the left by $2 bits
  shifted "$1" $((64 - $2))
  found=$((($1 << $2) | found))
}

round() {  # sets `found` to the state $1 after the word $2
  rotated $(($1 + $2 * P2)) 31
  found=$((found * P1))
}

word() {  # sets `found` to $2 bytes of the hexadecimal text $1, the lowest byte first
  local i hex=
  for ((i = 2 * $2 - 2; i >= 0; i -= 2)); do hex+=${1:i:2}; done
  found=$((16#$hex))
}

xxh64() {  # sets `hash` to the hash of the bytes in the hexadecimal text $1, with seed 0, as a signed number
  local rest=$1 length=$((${#1} / 2)) i
  local -a state=($((P1 + P2)) "$P2" 0 $((-P1)))
  local -a turns=(1 7 12 18)
  hash=$P5
  if ((length >= 32)); then
    while ((${#rest} >= 64)); do
      for i in 0 1 2 3; do
        word "${rest:16 * i:16}" 8
        round "${state[i]}" "$found"
        state[i]=$found
      done
      rest=${rest:64}
    done
    hash=0
    for i in 0 1 2 3; do
      rotated "${state[i]}" "${turns[i]}"
      hash=$((hash + found))
    done
    for i in 0 1 2 3; do
      round 0 "${state[i]}"
      hash=$(((hash ^ found) * P1 + P4))
    done
  fi
  hash=$((hash + length))
  while ((${#rest} >= 16)); do
    word "${rest:0:16}" 8
    round 0 "$found"
    rotated $((hash ^ found)) 27
    hash=$((found * P1 + P4)) rest=${rest:16}
  done
  if ((${#rest} >= 8)); then
    word "${rest:0:8}" 4
    rotated $((hash ^ (found * P1))) 23
    hash=$((found * P2 + P3)) rest=${rest:8}
  fi
  while [ -n "$rest" ]; do
    word "${rest:0:2}" 1
    rotated $((hash ^ (found * P5))) 11
    hash=$((found * P1)) rest=${rest:2}
  done
  shifted "$hash" 33 && hash=$(((hash ^ found) * P2))
  shifted "$hash" 29 && hash=$(((hash ^ found) * P3))
  shifted "$hash" 32 && hash=$((hash ^ found))
}

partition() {  # sets `found` to the hash $1, as an unsigned number, modulo $2
  shifted "$1" 1
  found=$(((found % $2 * 2 + ($1 & 1)) % $2))
}

utf8() {  # adds the bytes of the code point $1 to `bytes`
  local parts
  if (($1 < 0x80)); then parts=("$1")
  elif (($1 < 0x800)); then parts=($((0xc0 | $1 >> 6)) $((0x80 | $1 & 63)))
  elif (($1 < 0x10000)); then parts=($((0xe0 | $1 >> 12)) $((0x80 | $1 >> 6 & 63)) $((0x80 | $1 & 63)))
  else parts=($((0xf0 | $1 >> 18)) $((0x80 | $1 >> 12 & 63)) $((0x80 | $1 >> 6 & 63)) $((0x80 | $1 & 63))); fi
  printf -v parts %02x "${parts[@]}"
  bytes+=$parts
}

text() {  # sets `bytes` to the UTF-8 of a JSON string $1, in hexadecimal. Half of a surrogate pair is no text
  local rest=$1 low code
  bytes=
  while [ -n "$rest" ]; do
    case $rest in
      \\u*)
        code=$((16#${rest:2:4})) rest=${rest:6}
        if ((code >= 0xd800 && code < 0xdc00)) && [[ $rest == \\u* ]]; then
          low=$((16#${rest:2:4})) rest=${rest:6}
          code=$((0x10000 + ((code - 0xd800) << 10) + low - 0xdc00))
        elif ((code >= 0xd800 && code < 0xe000)); then
          return 1
        fi
        utf8 "$code" ;;
      \\n*) bytes+=0a rest=${rest:2} ;;
      \\t*) bytes+=09 rest=${rest:2} ;;
      \\r*) bytes+=0d rest=${rest:2} ;;
      \\*) printf -v code %02x "'${rest:1:1}" && bytes+=$code rest=${rest:2} ;;
      *) printf -v code %02x "'${rest:0:1}" && bytes+=$code rest=${rest:1} ;;
    esac
  done
}

key_bytes() {  # sets `bytes` to those of the key of type $1 with the value $2. Fails if it is no key
  case $1 in
    text) text "$2" ;;
    integer) [[ $2 =~ ^-?[0-9]+$ ]] && text "$2" ;;
    uuid) text "${2,,}" ;;
    bytes) bytes=$2 ;;
    *) return 1 ;;
  esac
}

number=0 failures=0 bytes='' hash=0 found=0
tell() {  # a result: what is wrong, or nothing
  number=$((number + 1))
  if [ -z "$2" ]; then
    echo "ok $number - $1"
  else
    failures=$((failures + 1))
    printf 'not ok %s - %s\n# routing.jsonl:%s: %s\n' "$number" "$1" "$number" "$2"
  fi
}

check() {  # a line of the file. Sets `wrong`
  local line=$1 pairs count
  wrong=
  if [[ $line == *'"refused": true'* ]]; then
    ! key_bytes "$type" "$value" || wrong='it must be refused'
    return
  fi
  key_bytes "$type" "$value" || { wrong='it is a key, and must not be refused'; return; }
  [[ $line == *"\"bytes\": \"$bytes\""* ]] || { wrong="its bytes are not $bytes"; return; }
  xxh64 "$bytes"
  printf -v found %u "$hash"
  [[ $line == *"\"hash\": \"$found\""* ]] || { wrong="its hash is not $found"; return; }
  pairs=${line##*'"partition": {'}
  pairs=${pairs%%\}*}
  while [[ $pairs =~ ^[,\ ]*\"([0-9]+)\":\ ([0-9]+)(.*)$ ]]; do
    count=${BASH_REMATCH[1]} pairs=${BASH_REMATCH[3]}
    partition "$hash" "$count"
    [ "$found" = "${BASH_REMATCH[2]}" ] || { wrong="of $count partitions, it is not in $found"; return; }
  done
}

while IFS= read -r line; do
  [[ $line =~ ^\{\"key\":\ \{\"type\":\ \"([a-z]+)\",\ \"value\":\ \"(([^\"\\]|\\.)*)\"\} ]] || { echo "Bail out! line $((number + 1)) has no key"; exit 2; }
  type=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
  check "$line"
  tell "$type ${value:0:40}" "$wrong"
done <"$here/routing.jsonl"
echo "1..$number"
[ "$failures" = 0 ]
