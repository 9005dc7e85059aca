# Servers: started in the background, known by pid, start time and session, ended by pid.
service_names="postgres redis outbox worker-1 worker-2 tidegate tide-status"

# The kernel's start time of a process that has not ended (Z): a pid alone may belong to somebody else by now.
start_time() { sed -n '/) Z /!s/.*) //p' "/proc/$1/stat" 2>/dev/null | cut -d' ' -f20; }

leader_of() { # NAME: its first process, while that runs
  local pid time
  read -r pid time 2>/dev/null <"$var/run/$1.pid" && [ -n "$time" ] && [ "$(start_time "$pid")" = "$time" ] && echo "$pid"
}

# `tidectl upgrade` puts another process in the place of the first: of its session, with its very command line.
successors_of() { # NAME
  local leader command stat fields session arguments
  read -r leader _ 2>/dev/null <"$var/run/$1.pid" && read -r command 2>/dev/null <"$var/run/$1.command" || return 0
  for stat in /proc/[0-9]*/stat; do
    read -r fields 2>/dev/null <"$stat" || continue # it has just ended
    read -r _ _ _ session _ <<<"${fields##*) }"
    [ "$session" = "$leader" ] && [ "$stat" != "/proc/$leader/stat" ] || continue
    mapfile -d '' -t arguments 2>/dev/null <"${stat%stat}cmdline" || continue
    [ "${arguments[*]} " != "${command%\[*}" ] || echo "${stat//[^0-9]/}"
  done
}

pids_of() { leader_of "$1" || true; successors_of "$1"; }

is_running() { [ -n "$(leader_of "$1")" ] || [ -n "$(successors_of "$1")" ]; }

pid_of() { pids_of "$1" | tail -1; }

pids_text() {
  local name text=
  for name in $service_names; do
    ! is_running "$name" || text="$text $name=$(pid_of "$name")"
  done
  printf '%s' "${text# }"
}

# launch NAME COMMAND...: does nothing when this very command runs already, from this very program file
launch() {
  local name=$1 pid command
  shift
  command="$* [$(stat -L -c %Y "$(command -v "$1")")]"
  if is_running "$name"; then
    [ "$(cat "$var/run/$name.command" 2>/dev/null)" = "$command" ] && return 0
    end_service "$name"
  fi
  note "starting $name"
  # The server's own user opens its log: it may be a link to anything. Each of these execs the next: one pid.
  "${as[@]}" setsid sh -c 'exec "$@" >>"$0" 2>&1' "$var/log/$name.log" "$@" </dev/null &
  pid=$!
  echo "$command" >"$var/run/$name.command"
  printf '%s %s\n' "$pid" "$(start_time "$pid")" >"$var/run/$name.pid"
}

end_service() {
  local name=$1 signal=TERM
  is_running "$name" || return 0
  [ "$name" != postgres ] || signal=INT # fast shutdown
  signal_service "$name" "$signal"
  wait_for 40 "$name ends" not_running "$name" || signal_service "$name" KILL
}
signal_service() {
  local pids
  mapfile -t pids < <(pids_of "$1")
  [ ${#pids[@]} = 0 ] || kill "-$2" "${pids[@]}" 2>/dev/null || true
}
not_running() { ! is_running "$1"; }

up_or_gone() { # NAME COMMAND...
  not_running "$1" || "${@:2}"
}

must() { # SECONDS NAME COMMAND...: over at once when the service has ended
  local seconds=$1 name=$2
  shift 2
  wait_for "$seconds" "$name" up_or_gone "$name" "$@" && is_running "$name" && return 0
  as_owner tail -20 "$var/log/$name.log" >&2 || true
  die "$name did not come up: see var/log/$name.log"
}

pg_programs() { ls -d /usr/lib/postgresql/*/bin | sort -V | tail -1; }

start_postgres() {
  local programs
  programs=$(pg_programs)
  if [ ! -e "$var/pg/PG_VERSION" ]; then
    note "creating the database cluster in var/pg"
    rm -rf "$var/pg"
    mkdir -p "$var/pg"
    ! is_root || chown "$owner:" "$var/pg"
    chmod 700 "$var/pg"
    (cd "$var" && as_owner "$programs/initdb" -D "$var/pg" -U tidegate -A trust -E UTF8 --locale=C.UTF-8 2>&1) |
      as_owner tee "$var/log/initdb.log" >/dev/null || die "initdb failed: see var/log/initdb.log"
  fi
  launch postgres "$programs/postgres" -D "$var/pg" -k "$runtime" -c listen_addresses= -c max_connections=60
  must 60 postgres psql -XAtq -d "postgresql://tidegate@${runtime//\//%2F}/postgres" -c "SELECT 1"
  psql -XAtq -d "postgresql://tidegate@${runtime//\//%2F}/postgres" -c "SELECT 1 FROM pg_database WHERE datname = 'tidegate'" |
    grep -q 1 || psql -Xq -d "postgresql://tidegate@${runtime//\//%2F}/postgres" -c "CREATE DATABASE tidegate"
  "$bin/tidectl" migrate --database "$(pg_uri tidegate)" --folder "$root/migrations" | sed 's/^/   /'
}

start_redis() {
  mkdir -p "$var/redis"
  ! is_root || chown "$owner:" "$var/redis"
  launch redis redis-server --bind 127.0.0.1 --port "$port_redis" --dir "$var/redis" --appendonly yes --appendfsync everysec \
    --maxmemory-policy noeviction --save ""
  must 30 redis redis-cli -p "$port_redis" ping
}

http_ok() { curl -fsS --max-time 5 --cacert "$var/tls/ca.pem" -o /dev/null "$@"; }

start_worker() {
  local n=$1 threads
  threads=$(($(nproc) / 2))
  launch "worker-$n" "$bin/tide-worker" --model "$model_file" --alias "$model_id" --listen "unix:$runtime/w$n.sock" \
    --threads "$((threads > 0 ? threads : 1))" --context 4096 --packed-dir "$var/packed"
}

start_services() {
  step "starting servers (logs in var/log)"
  cd "$var"
  start_postgres
  start_redis
  launch outbox "$bin/sms-outbox" --listen "127.0.0.1:$port_outbox" --secret-file "$var/keys/hook.secret" --outbox "$var/outbox"
  must 15 outbox http_ok "http://127.0.0.1:$port_outbox/health"
  start_worker 1
  start_worker 2
  must 120 worker-1 http_ok --unix-socket "$runtime/w1.sock" http://localhost/health
  must 120 worker-2 http_ok --unix-socket "$runtime/w2.sock" http://localhost/health
  launch tidegate "$bin/tidegate" -c "$var/conf/tidegate.yaml"
  must 60 tidegate http_ok "https://localhost:$port_gateway/readyz"
  launch tide-status "$bin/tide-status" -c "$var/conf/tide-status.yaml"
  must 60 tide-status http_ok "https://localhost:$port_status/api/v2/status.json"
  cd "$root"
}

stop_services() {
  local name
  for name in tide-status tidegate worker-1 worker-2 outbox redis postgres; do
    if is_running "$name"; then
      note "stopping $name"
      end_service "$name"
    fi
    rm -f "$var/run/$name.pid"
  done
}
