# How every script here switches HAProxy by hand. $1 is planned or unplanned; the environment says where everything is.
set -euo pipefail

haproxy() { # the runtime API answers nothing where a command succeeded
  exec 3<>"/dev/tcp/127.0.0.1/$RUNTIME"
  echo "$1" >&3
  answer=$(cat <&3)
  exec 3>&-
  [ -z "$answer" ] || { echo "haproxy: $1: $answer" >&2; exit 1; }
}
