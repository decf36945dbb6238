#!/usr/bin/env bash
# Runs transcripts.jsonl and scenarios.jsonl against an empty Redis, with nothing but bash and redis-cli:
#   run.sh [--only TEXT] [HOST] [PORT]
# It DELETES ALL DATA there before each case, so it begins only if the server is empty. --only runs the cases
# whose names have this text. It prints a line for each case, as TAP; the status is 1 if one fails. README.md
# describes the files.
set -u
LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
only=
if [ "${1:-}" = --only ]; then
  only=${2:?--only needs a text}
  shift 2
fi
case ${1:-} in -*) sed -n '2,6s/^# //p' "$0"; exit 2 ;; esac
cli=(redis-cli -h "${1:-127.0.0.1}" -p "${2:-6379}")
size=$("${cli[@]}" DBSIZE) || exit 2
if [ "$size" != 0 ]; then
  echo "There is no empty Redis at ${1:-127.0.0.1} ${2:-6379}: DBSIZE says $size" >&2
  exit 2
fi

# One redis-cli for all commands: lines go in, and replies come out, quoted and with their types. ECHO ends a reply.
pipes=$(mktemp -d) && mkfifo "$pipes/in" "$pipes/out" || exit 2
"${cli[@]}" --no-raw <"$pipes/in" >"$pipes/out" 2>&1 &
redis=$!
exec 3>"$pipes/in" 4<"$pipes/out"
trap 'exec 3>&-; kill "$redis" 2>/dev/null; rm -r "$pipes"; "${cli[@]}" FLUSHALL >/dev/null' EXIT

# Commands are sent in batches: as many as need nothing of each other's replies. Of each, what a failure tells.
batch='' lines=() notes=() expected=()
send() {  # words as the files have them
  local line='' word
  for word; do line+="\"${word//%/\\x}\" "; done
  batch+=$line$'\nECHO end-of-reply\n'
  lines+=("$number") notes+=("$told") expected+=('')
}

flush() {  # sends the batch, and compares the replies
  local i words
  printf %s "$batch" >&3
  for ((i = 0; i < ${#lines[@]}; i++)); do
    receive
    [ -n "$failed" ] || [ -z "${expected[i]}" ] || {
      IFS=$'\037' read -r -a words <<<"${expected[i]}"
      compare "# $file:${lines[i]}: the reply to ${notes[i]}" ${words[@]+"${words[@]:1}"}
    }
  done
  batch='' lines=() notes=() expected=()
}

receive() {  # sets `got` to the values of a reply
  local value
  got=()
  while true; do
    IFS= read -r -t 60 -u 4 value || { echo "Bail out! redis-cli has ended, or takes too long"; exit 2; }
    while [[ $value =~ ^\ *[0-9]+\)\ (.*) ]]; do value=${BASH_REMATCH[1]}; done # The numbers of lists.
    case $value in
      '"end-of-reply"') return ;;
      '"'*) value=${value#'"'} && escape "${value%'"'}" && got+=("\$$escaped") ;;
      '(integer) '*) got+=(":${value#'(integer) '}") ;;
      '(error) '*) got+=("-${value#'(error) '}") ;;
      '(nil)') got+=(_) ;;
      '(empty array)' | '('*s')') ;; # The other one is the time that a slow command took.
      *) got+=("+$value") ;;
    esac
  done
}

compare() {  # what to tell, then the values that are expected; compares them with `got`
  local tell=$1 i
  shift
  [ $# = ${#got[@]} ] || { failed="$tell is ${got[*]-}"$'\n'"# and not $*"; return; }
  for ((i = 0; i < $#; i++)); do
    matches "${@:i+1:1}" "${got[i]}" || {
      failed="$tell has ${got[i]}, and not $filled, as value $((i + 1)): ${got[*]}"
      return
    }
  done
}

escape() {  # sets `escaped` to a text with the escapes of the files instead of those of redis-cli
  local text=$1
  if [[ $text == *[\\%\<]* ]]; then
    text=${text//%/%25} text=${text//</%3c} text=${text//\\\\/%5c} text=${text//\\x/%} text=${text//\\\"/%22}
    text=${text//\\n/%0a} text=${text//\\r/%0d} text=${text//\\t/%09} text=${text//\\a/%07} text=${text//\\b/%08}
  fi
  escaped=$text
}

fill() {  # sets `filled` to the text with the values of the names that have one
  local rest=$1 name more key value
  filled=
  while [[ $rest == *\<*\>* ]]; do
    filled+=${rest%%\<*} rest=${rest#*\<}
    name=${rest%%\>*} rest=${rest#*\>}
    more=0 key=$name
    case $name in *+*) more=${name#*+} key=${name%+*} ;; esac
    value=
    case $name in *..*) ;; *) key=name_$key value=${!key:-} ;; esac
    case $value in
      '') filled+="<$name>" ;;
      *-*) filled+="${value%-*}-$((10#${value#*-} + more))" ;;
      *) filled+=$((10#$value + more)) ;;
    esac
  done
  filled+=$rest
}

matches() {  # is the value $2 as $1 says? A name without a value gets it from here
  local before after hole inside
  fill "$1"
  [[ $filled == *\<*\>* ]] || { [ "$filled" = "$2" ]; return; }
  before=${filled%%\<*} hole=${filled#*\<} after=${filled#*\>}
  hole=${hole%%\>*} inside=${2#"$before"}
  inside=${inside%"$after"}
  [ "$before$inside$after" = "$2" ] || return 1
  case $hole in
    ...) ;;
    *..*) [[ $inside =~ ^-?[0-9]+$ ]] && ((inside >= ${hole%..*} && inside <= ${hole#*..})) ;;
    *) [[ $inside =~ ^[0-9]+(-[0-9]+)?$ ]] && printf -v "name_$hole" %s "$inside" ;;
  esac
}

larger() {  # is the number, or id, $1 larger than $2?
  ((${1%-*} > ${2%-*})) || { ((${1%-*} == ${2%-*})) && [[ $1 == *-* ]] && ((${1#*-} > ${2#*-})); }
}

fail() {
  failed="# $file:$number: $1"
}

number_of_cases=0 failures=0 name='' failed='' note='' told=FLUSHALL loaded=' ' flushed=''
finish() {  # of a case
  [ -n "$name" ] || return
  flush
  number_of_cases=$((number_of_cases + 1))
  if [ -z "$failed" ]; then
    echo "ok $number_of_cases - $name"
  else
    failures=$((failures + 1))
    printf 'not ok %s - %s\n%s\n' "$number_of_cases" "$name" "$failed"
  fi
}

begin() {
  finish
  name='' failed='' note=''
  [[ $1 == *"$only"* ]] || return
  name=$1
  if [ -n "$flushed" ]; then loaded=' ' flushed=; fi
  unset "${!name_@}"
  send FLUSHALL
}

load() {  # sets the SHA-1 of a script
  local sha
  sha=$("${cli[@]}" -x SCRIPT LOAD <"$here/../$1.lua")
  printf -v "sha_${1//\//_}" %s "$sha"
  loaded+="$1 "
}

step() {
  local kind=$1 i before
  shift
  case $kind in
    note) note=$1 ;;
    wait) flush && sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))" ;;
    load) flush && load "$1" ;;
    redis | call)
      local words=()
      told="$kind $1${note:+ ($note)}"
      [ ${#batch} -lt 16000 ] || flush # Both pipes must have room.
      for i in "${@:2}"; do
        case $i in *\<*)
          fill "$i"
          case $filled in *\<*) flush && fill "$i" ;; esac
          i=$filled ;;
        esac
        words+=("$i")
      done
      if [ "$kind" = redis ]; then
        [ "$1 ${2:-}" != 'SCRIPT FLUSH' ] || flushed=yes
        send "$1" ${words[@]+"${words[@]}"}
      else
        [[ $loaded == *" $1 "* ]] || { flush && load "$1"; }
        i=sha_${1//\//_}
        send EVALSHA "${!i}" "${words[@]}"
      fi ;;
    rises)
      flush
      for ((i = 1; i < $#; i++)); do
        fill "${@:i:1}" && before=$filled
        fill "${@:i+1:1}"
        larger "$filled" "$before" || fail "$filled is not larger than $before"
      done ;;
    reply)
      expected[${#expected[@]} - 1]=reply
      for i; do expected[${#expected[@]} - 1]+=$'\037'$i; done ;;
    *) fail "there is no step $kind" ;;
  esac
}

for file in transcripts.jsonl scenarios.jsonl; do
  number=0
  while IFS= read -r line; do
    number=$((number + 1))
    line=${line#'["'} line=${line%'"]'}
    IFS=$'\037' read -r -a words <<<"${line//'","'/$'\037'}"$'\037'
    if [ "${words[0]}" = case ]; then
      begin "${words[1]}"
    elif [ -n "$name" ] && [ -z "$failed" ]; then
      step "${words[@]}"
    fi
  done <"$here/$file"
done
finish
echo "1..$number_of_cases"
if [ "$number_of_cases" = 0 ]; then
  echo "No case has a name with: $only" >&2
  exit 2
fi
[ "$failures" = 0 ]
