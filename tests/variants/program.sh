#!/bin/sh
# Speaks as much of Claude Code's protocol as the tests of variants need. Its environment says how it is to be.

# Counts what it was started for, where a test wants to know.
note() {
  [ -z "$NOTES" ] || echo "$1" >> "$NOTES"
}

# Waits until the test lets it go on, where it is to.
hang() {
  [ "$HANGS" != "$1" ] || cat "$GATE" > /dev/null
}

model() {
  name=$(echo "$1" | tr a-z A-Z)
  printf '{"value":"%s","displayName":"%s","description":"a model","supportedEffortLevels":[%s]}' "$1" "$name" "$2"
}

case "$*" in
--version)
  note version
  hang version
  echo '9.9.9 (a program of a test)'
  exit
  ;;
"auth status")
  [ -n "$STRANGER" ] && logged_in=false || logged_in=true
  echo "{\"loggedIn\":$logged_in,\"apiProvider\":\"firstParty\"}"
  exit
  ;;
esac

while [ $# -gt 0 ]; do
  case "$1" in
  --model) model=$2 ;;
  --permission-mode) mode=$2 ;;
  esac
  shift
done

while read -r line; do
  case "$line" in
  *'"type":"user"'*)
    said="$model $mode $ENDPOINT $OF_ALL"
    echo '{"type":"system","subtype":"init","session_id":"of-a-test"}'
    printf '%s\n' "{\"isReplay\":true,${line#?}"
    echo "{\"type\":\"assistant\",\"message\":{\"id\":\"m\",\"content\":[{\"type\":\"text\",\"text\":\"$said\"}]}}"
    echo "{\"type\":\"result\",\"subtype\":\"success\",\"is_error\":false,\"result\":\"$said\"}"
    echo '{"type":"system","subtype":"session_state_changed","state":"idle"}'
    ;;
  *'"subtype":"initialize"'*)
    # With a model it is an agent that is greeted.
    [ -z "$model" ] || continue
    note models
    hang models
    [ -z "$MUTE" ] || exit 1
    models="$(model glm '"low","high"'),$(model flat ''),$(model 'wide[1m]' '"low"')"
    echo "{\"type\":\"control_response\",\"response\":{\"response\":{\"models\":[$models]}}}"
    ;;
  esac
done
