# What a first user would do: sign up by phone code, be refused from abroad under mainland-phone-only, chat.

auth() { # PATH JSON -> body, then the HTTP status on a line of its own
  curl -sS --max-time 30 --cacert "$var/tls/ca.pem" -H "apikey: $apikey" -H "content-type: application/json" \
    -w '\n%{http_code}' "https://localhost:$port_gateway/auth/v1/$1" -d "$2"
}

json_get() { python3 -c 'import json, sys; print(json.load(sys.stdin)[sys.argv[1]])' "$1"; }

tidectl() { "$bin/tidectl" --socket "$runtime/admin.sock" "$@"; }

code_for() { # PHONE: the newest code sent to it
  python3 - "$var/outbox" "$1" <<'END'
import glob, json, os, sys
found = [(os.stat(p).st_mtime_ns, json.load(open(p))) for p in glob.glob(sys.argv[1] + "/*.json")]
mine = [m["code"] for _, m in sorted(found, key=lambda pair: pair[0]) if m["to"] == sys.argv[2]]
print(mine[-1]) if mine else sys.exit(1)
END
}

sign_up() { # PHONE: leaves the access token in $token
  local phone=$1 answer
  answer=$(auth otp "{\"phone\":\"$phone\"}")
  [ "${answer##*$'\n'}" = 200 ] || die "sign-up: no code was sent: $answer"
  wait_for 10 "a code" code_for "$phone" || die "sign-up: no code arrived in var/outbox"
  answer=$(auth verify "{\"type\":\"sms\",\"phone\":\"$phone\",\"token\":\"$(code_for "$phone")\"}")
  [ "${answer##*$'\n'}" = 200 ] || die "sign-up: the code was not taken: $answer"
  token=$(printf '%s' "${answer%$'\n'*}" | json_get access_token)
}

# Every gateway follows a policy within a second; the settings say which one is in force.
sign_up_is() {
  curl -sS --max-time 10 --cacert "$var/tls/ca.pem" -H "apikey: $apikey" "https://localhost:$port_gateway/auth/v1/settings" |
    python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["signup"]["state"] != sys.argv[1])' "$1"
}

refuse_foreign() {
  local answer refusal phone="+6591$(printf '%06d' $((RANDOM * 30 + RANDOM % 30)))"
  tidectl policy set mainland-phone-only --reason "quickstart: trying it out" >/dev/null
  local followed=yes
  wait_for 5 "the policy acts" sign_up_is restricted || followed=
  answer=$(auth otp "{\"phone\":\"$phone\"}") || answer="no answer"
  tidectl policy set open --reason "quickstart: open again" >/dev/null # whatever came: the next trial wants it open
  [ -n "$followed" ] || die "the gateway did not follow the policy"
  wait_for 5 "the policy acts" sign_up_is open || die "the gateway did not follow the policy"
  [ "${answer##*$'\n'}" = 403 ] || die "a foreign number was not refused under mainland-phone-only: $answer"
  refusal=$(printf '%s' "${answer%$'\n'*}" | json_get code)
  [ "$refusal" = signup_region_not_allowed ] || die "a foreign number was refused for another reason: $refusal"
  note "under mainland-phone-only a number from Singapore is refused: $refusal"
}

chat() {
  curl -sSN --max-time 120 --cacert "$var/tls/ca.pem" -H "authorization: Bearer $token" -H "content-type: application/json" \
    "https://localhost:$port_gateway/v1/chat/completions" \
    -d "{\"model\":\"$model_id\",\"stream\":true,\"max_tokens\":48,\"messages\":[{\"role\":\"user\",\"content\":\"What is a tide gate?\"}]}"
}

print_stream() {
  python3 -u -c '
import json, sys
whole = False
for line in sys.stdin:
    if not line.startswith("data: "):
        continue
    data = line[6:].strip()
    if data == "[DONE]":
        whole = True
        break
    choices = json.loads(data).get("choices") or [{}]
    print((choices[0].get("delta") or {}).get("content") or "", end="", flush=True)
print()
sys.exit(0 if whole else 1)'
}

try_it() {
  step "trying it"
  local phone policy
  policy=$(tidectl policy get -o json | json_get name)
  if [ "$policy" = open ]; then
    phone="+86138$(printf '%08d' $(((RANDOM * 32768 + RANDOM) % 100000000)))"
    sign_up "$phone"
    note "signed up $phone with the code from var/outbox"
    refuse_foreign
    note "streaming an answer:"
    chat | print_stream || die "the answer did not come whole"
  elif [ "$action" = check ]; then
    die "the sign-up policy is $policy, not open: nothing can be tried"
  else
    note "sign-up policy is $policy, not open: left alone, no account is made"
  fi
}

say_what_next() {
  cat <<END

Running.
   gateway      https://localhost:$port_gateway      (CA: $var/tls/ca.pem)
   status page  https://localhost:$port_status
   dashboard    http://127.0.0.1:$port_ops/ops      (password: $(cat "$var/keys/ops.password"))
   metrics      http://127.0.0.1:$port_metrics/metrics

Next
   . $var/quickstart.env; export TIDEGATE_ADMIN_SOCKET
   $bin/tidectl check
   $bin/tidectl get workers
   $bin/tidectl policy set mainland-phone-only --reason "try it"
   deploy/quickstart stop
END
}
