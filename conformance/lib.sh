# What the drivers share. Sourced, not run.
#
#   DRIVER --mount TEMPLATE [--umount TEMPLATE] [--base DIR] [--keep] [--user] [what the suite takes]
#
# Placeholders of a template: {lower} {upper} {work} {mnt}. A driver goes on in mount and PID namespaces of its own, so that whatever
# stays mounted or running ends with it. With --user it goes on as an ordinary user, root of a user namespace of its own.
set -u
BIN=$(cd "$(dirname "$(readlink -f "$0")")" && pwd)
MOUNT= UMOUNT='umount {mnt}' BASE= KEEP= AS_USER= ARGS=()
ORIGINAL=("$@")
while [ $# -gt 0 ]; do
  case $1 in
    --mount) MOUNT=$2; shift 2;;
    --umount) UMOUNT=$2; shift 2;;
    --base) BASE=$2; shift 2;;
    --keep) KEEP=1; shift;;
    --user) AS_USER=1; shift;;
    --) shift; ARGS+=("$@"); break;;
    *) ARGS+=("$1"); shift;;
  esac
done
[ -n "$MOUNT" ] || { echo "usage: $0 --mount TEMPLATE [--umount TEMPLATE] [--base DIR] [--keep] [--user] [suite args]" >&2; exit 2; }
BASE=${BASE:-${TMPDIR:-/tmp}/$(basename "$0").$$}
export CONF_STAGE=${CONF_STAGE:-0} CONF_BASE=${CONF_BASE:-$BASE}
BASE=$CONF_BASE
if [ "$CONF_STAGE" = 0 ]; then
  mkdir -p "$BASE"
  CONF_STAGE=1 unshare --mount --pid --fork --mount-proc --kill-child --propagation private "$0" "${ORIGINAL[@]}"
  rc=$?
  # An ordinary user cannot remove its own base from where that stands.
  [ -n "$KEEP" ] || rm -rf "$BASE"
  exit $rc
fi

# A user that nobody is, with 65536 IDs that nobody has, in files that this mount namespace alone sees; /dev/fuse is open to it as on
# most machines.
become_user() {
  local id=790002 first=790200000 own=$BASE/user file
  mkdir -p "$own"
  for file in passwd group; do cp /etc/$file "$own/$file"; done
  echo "conf-user:x:$id:$id::$BASE:/bin/sh" >>"$own/passwd"; echo "conf-user:x:$id:" >>"$own/group"
  for file in subuid subgid; do echo "conf-user:$first:65536" >"$own/$file"; done
  for file in passwd group subuid subgid; do mount --bind "$own/$file" /etc/$file; done
  mknod -m 666 "$own/fuse" c 10 229 && mount --bind "$own/fuse" /dev/fuse
  chown $id:$id "$BASE"
  export CONF_STAGE=2 HOME=$BASE USER=conf-user
  exec setpriv --reuid $id --regid $id --clear-groups --inh-caps=-all --ambient-caps=-all \
    unshare --user --mount --map-root-user --map-auto "$0" "${ORIGINAL[@]}"
}
if [ -n "$AS_USER" ] && [ "$CONF_STAGE" = 1 ]; then become_user; fi

BASE=$(readlink -f "$BASE")
LOWER=$BASE/lower UPPER=$BASE/upper WORK=$BASE/work MNT=$BASE/mnt OUT=$BASE/out
mkdir -p "$LOWER" "$UPPER" "$WORK" "$MNT" "$OUT"; chmod 755 "$BASE" "$LOWER" "$UPPER" "$WORK" "$MNT"

filled() {
  local text=$1
  text=${text//\{lower\}/$LOWER}; text=${text//\{upper\}/$UPPER}; text=${text//\{work\}/$WORK}; text=${text//\{mnt\}/$MNT}
  printf %s "$text"
}
# A server that goes into the background holds our output no longer than it must.
do_mount() {
  local try
  sh -c "$(filled "$MOUNT")" >"$OUT/mount.log" 2>&1 </dev/null || { cat "$OUT/mount.log" >&2; echo "mount failed"; exit 3; }
  for try in $(seq 50); do mountpoint -q "$MNT" && return; sleep 0.1; done
  echo "not a mount point: $MNT" >&2; exit 3
}
do_umount() {
  local try
  for try in 1 2 3 4 5; do
    sh -c "$(filled "$UMOUNT")" >>"$OUT/mount.log" 2>&1; mountpoint -q "$MNT" || return 0
    sleep 0.5
  done
  umount -l "$MNT"
}
cleanup() {
  cd /; mountpoint -q "$MNT" && do_umount
  [ -n "$KEEP" ] && return
  chattr -R -i -a "$UPPER" 2>/dev/null
  rm -rf "$LOWER" "$UPPER" "$WORK" "$MNT"
}
trap cleanup EXIT
summary() { echo "$1 passed, $2 failed, $3 skipped"; }
