#!/bin/bash
# healthcheck.sh PORT PATH: succeeds if the server on this machine answers GET PATH with status 200.
# The image of TensorFlow Serving has no curl, wget or Python; bash opens a connection by itself.
set -eu
exec 3<>"/dev/tcp/127.0.0.1/$1"
printf 'GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n' "$2" >&3
read -r -t 5 _ status _ <&3
[ "$status" = 200 ]
