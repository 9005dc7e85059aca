# Packages of the system, and the build.
packages_of() { sed -n "s/^$1: //p" "$root/deploy/packages" | tr ' ' '\n'; }

missing_packages() {
  local p
  for p in "$@"; do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || echo "$p"
  done
}

install_packages() {
  local wanted missing
  mapfile -t wanted < <(packages_of build; packages_of run)
  mapfile -t missing < <(missing_packages "${wanted[@]}")
  [ ${#missing[@]} -gt 0 ] || return 0
  step "installing ${#missing[@]} packages"
  is_root || die "as root, or install first: ${missing[*]}"
  # RUNLEVEL=1: servers that a package brings are not started; ours are private ones.
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

build_programs() {
  step "building (release)"
  (cd "$root" && cmake --preset release -DBUILD_TESTING=OFF -B build/quickstart >/dev/null && cmake --build build/quickstart -j "$(nproc)" | tail -1)
}
