# Keys, certificates and configuration files: made once, kept.

make_tls() {
  local t="$var/tls"
  [ ! -e "$t/cert.pem" ] || return 0
  note "development CA and certificate in var/tls"
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 825 -keyout "$t/ca.key" -out "$t/ca.pem" \
    -subj "/CN=Tidegate development CA" -addext "keyUsage=critical,keyCertSign,cRLSign" 2>/dev/null
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$t/key.pem" -out "$t/csr.pem" \
    -subj "/CN=localhost" 2>/dev/null
  openssl x509 -req -in "$t/csr.pem" -CA "$t/ca.pem" -CAkey "$t/ca.key" -days 825 -out "$t/cert.new" \
    -extfile <(printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n') 2>/dev/null
  chmod 600 "$t/ca.key" "$t/key.pem"
  mv "$t/cert.new" "$t/cert.pem"
}

# secret FILE COMMAND...: its output, owner only
make_secret() {
  local file=$1
  shift
  [ ! -e "$file" ] || return 0
  (umask 077 && "$@" >"$file.new" && mv "$file.new" "$file")
}

hook_secret() { printf 'whsec_%s\n' "$(openssl rand -base64 32)"; }
ops_password() { openssl rand -hex 12; }
api_key() { printf 'tide_pub_%s\n' "$(openssl rand -hex 16)"; }

make_keys() {
  local k="$var/keys"
  mkdir -pm 755 "$k/signing" "$k/probe" "$k/probe-public"
  [ -e "$k/keyring.json" ] || "$bin/tidectl" keyring generate "$k/keyring.json" >/dev/null
  [ -n "$(ls "$k/signing")" ] || "$bin/tidectl" keys generate "$k/signing" >/dev/null
  [ -n "$(ls "$k/probe")" ] || "$bin/tidectl" keys generate "$k/probe" >/dev/null
  probe_key=$(ls "$k/probe"/*.pem)
  openssl pkey -in "$probe_key" -pubout -out "$k/probe-public/$(basename "$probe_key")"
  make_secret "$k/hook.secret" hook_secret
  make_secret "$k/apikey" api_key
  make_secret "$k/ops.password" ops_password
  apikey=$(cat "$k/apikey")
}

is_free_port() { ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
is_picked_port() { grep -qxs "$1" "$var"/run/*.port; }

# pick_port NAME FIRST: the one of last time, or the first free one
pick_port() {
  local file="$var/run/$1.port" port=$2
  if [ ! -e "$file" ]; then
    until is_free_port "$port" && ! is_picked_port "$port"; do port=$((port + 1)); done
    echo "$port" >"$file"
  fi
  cat "$file"
}

pick_ports() {
  port_gateway=$(pick_port gateway 8443)
  port_status=$(pick_port status 8444)
  port_metrics=$(pick_port metrics 9464)
  port_outbox=$(pick_port outbox 9490)
  port_redis=$(pick_port redis 6390)
  port_ops=$(pick_port ops 8445)
}

# The host of a libpq URI, percent-encoded.
pg_uri() { printf 'postgresql://%s@%s/tidegate' "$1" "${runtime//\//%2F}"; }

write_gateway_conf() {
  cat >"$var/conf/tidegate.yaml" <<END
# Written by deploy/quickstart. All settings: docs/configuration.md
process:
  access_log: $var/log/access.log
  state_dir: $var/state
listeners:
  - address: 127.0.0.1:$port_gateway
certificates:
  - cert_file: $var/tls/cert.pem
    key_file: $var/tls/key.pem
apikeys: [$apikey]
database:
  uri: $(pg_uri tidegate_app)
auth:
  issuer: https://localhost:$port_gateway/auth/v1
  audience: authenticated
  key_ring_file: $var/keys/keyring.json
  signing_keys: $var/keys/signing
issuers:
  - issuer: https://status.localhost
    audience: tidegate-probe
    keys: $var/keys/probe-public
hooks:
  sms:
    url: http://127.0.0.1:$port_outbox/sms
    secret_file: $var/keys/hook.secret
limits:
  redis:
    address: 127.0.0.1:$port_redis
chat:
  workers:
    - name: w1
      target: unix:$runtime/w1.sock
      protocol: h2
      load_report: true
    - name: w2
      target: unix:$runtime/w2.sock
      protocol: h2
      load_report: true
admin:
  socket: unix:$runtime/admin.sock
  read_socket: unix:$runtime/read.sock
metrics:
  address: 127.0.0.1:$port_metrics
END
}

write_status_conf() {
  cat >"$var/conf/tide-status.yaml" <<END
# Written by deploy/quickstart.
process:
  threads: 1
  snapshot: $var/state/status-snapshot.json
listeners:
  - address: 127.0.0.1:$port_status
certificates:
  - cert_file: $var/tls/cert.pem
    key_file: $var/tls/key.pem
page:
  name: Tidegate
  url: https://localhost:$port_status
database:
  uri: $(pg_uri tidegate_status)
probe:
  target: https://localhost:$port_gateway
  ca_file: $var/tls/ca.pem
  apikey: $apikey
  token_key: $probe_key
  token_issuer: https://status.localhost
  token_audience: tidegate-probe
  metrics_url: http://127.0.0.1:$port_metrics/metrics
  sms_health_url: http://127.0.0.1:$port_outbox/health
ops:
  address: 127.0.0.1:$port_ops
  password_file: $var/keys/ops.password
  gateway: unix:$runtime/read.sock
END
}

make_files() {
  step "keys and configuration"
  make_tls
  make_keys
  pick_ports
  write_gateway_conf
  write_status_conf
  ! is_root || give_files
}

# What the servers' user has to read; the key that signs certificates is not among it.
give_files() {
  find "$var/keys" -type f -exec chown "$owner:" {} +
  chown root: "$var/tls/ca.key"
  chown "$owner:" "$var"/tls/{ca,cert,key}.pem
  chown "root:$owner" "$var"/conf/*.yaml
  chmod 640 "$var"/conf/*.yaml
}

write_env() {
  local file="$var/quickstart.env"
  cat >"$file.new" <<END
TIDEGATE_URL=https://localhost:$port_gateway
TIDEGATE_CA=$var/tls/ca.pem
TIDESTATUS_URL=https://localhost:$port_status
TIDESTATUS_OPS_URL=http://127.0.0.1:$port_ops/ops
TIDESTATUS_OPS_PASSWORD_FILE=$var/keys/ops.password
TIDEGATE_METRICS_URL=http://127.0.0.1:$port_metrics/metrics
TIDEGATE_ADMIN_SOCKET=$runtime/admin.sock
TIDEGATE_OUTBOX=$var/outbox
TIDEGATE_PG=$(pg_uri tidegate)
TIDEGATE_REDIS=redis://127.0.0.1:$port_redis
TIDEGATE_BIN=$bin
TIDEGATE_API_KEY=$apikey
TIDEGATE_MODEL=$model_id
TIDEGATE_PIDS="$(pids_text)"
TIDEGATE_CONF=$var/conf/tidegate.yaml
END
  mv "$file.new" "$file"
}
