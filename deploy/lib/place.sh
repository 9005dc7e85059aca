# Where data, sockets and programs live, and as whom the servers run.
# Sockets are apart for each checkout: two of them may run side by side (ports are picked free).
runtime=/run/tidegate-quickstart-$(printf '%s' "$root" | cksum | cut -d' ' -f1)

# Data lie in var/; where the servers' user cannot reach that, var/ is a link.
find_place() {
  var=$(readlink -f "$root/var") # where it is, not the link: the servers' user may not be able to follow that
  if is_root; then owner=tidegate; else owner=$(id -un); fi
  is_root || runtime="$var/run/sockets"
  bin="$var/bin"
  as=()
  ! is_root || as=(setpriv "--reuid=$owner" "--regid=$owner" --init-groups)
}

as_owner() { "${as[@]}" "$@"; }

make_owner() {
  is_root || return 0
  id "$owner" >/dev/null 2>&1 ||
    useradd --system --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin "$owner"
}

make_place() {
  find_place
  make_owner
  if [ ! -e "$var" ] && ! as_owner test -x "$root"; then
    mkdir -p /var/lib/tidegate-quickstart
    ln -sfn /var/lib/tidegate-quickstart "$var"
    find_place
  fi
  mkdir -p "$var"/{bin,conf,keys,log,model,outbox,packed,run,state,tls} "$runtime"
  ! is_root || share_place
}

# What root runs, writes and believes lies in folders of root's, where the servers' user can put nothing in its way: no link to
# follow, no program. The servers' are the folders that only they write.
share_place() {
  chown root: "$var"/ "$var"/{bin,run}
  chmod 755 "$var"/ "$var"/{bin,run}
  find "$var"/{conf,keys,model,tls} -type d -exec chown root: {} \; -exec chmod 755 {} \; # a folder before what is in it
  find "$var"/{conf,keys,model,tls} -type l -delete
  find "$var/log" -type f -user root -delete # the servers could not go on writing it
  chown "$owner:" "$var"/{log,outbox,packed,state} "$runtime"
  chmod 750 "$runtime"
}

install_programs() {
  local program from="$root/build/quickstart/bin"
  for program in "$from"/tidegate "$from"/tide-worker "$from"/tide-status "$from"/tidectl "$root/deploy/sms-outbox"; do
    # A running program keeps its old file: replaced, not overwritten.
    cmp -s "$program" "$bin/$(basename "$program")" || install -m 755 "$program" "$bin/"
  done
}
