"""Configuration as an operator meets it, beyond what test_lifecycle tries: secrets, restarts, the shipped example."""
import httpx
import pytest
import yaml

from tide.stack import ROOT, program, run


@pytest.fixture
def bare(own_stack):
    """A gateway without database, Redis and workers. Not started."""
    return own_stack, own_stack.settings()


def test_a_key_that_others_can_read_is_refused(bare):
    stack, settings = bare
    stack.key.chmod(0o644)
    gateway_conf = stack.folder / "open.yaml"
    gateway_conf.write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", gateway_conf, "--check", check=False)
    assert done.returncode == 1 and "key_file" in done.stderr


def test_what_needs_a_restart_is_refused_by_a_reload(bare):
    stack, settings = bare
    gateway = stack.start_gateway(settings)
    gateway.settings["process"]["threads"] = 3
    gateway.write()
    done = gateway.ctl("reload", check=False)
    assert done.returncode == 1 and "process.threads" in done.stderr


@pytest.mark.parametrize("listener, words", [
    ({"proxy_protocol": True}, "proxy_protocol_from: who may send"),
    ({"proxy_protocol_from": ["10.0.0.0/8"]}, "proxy_protocol_from: means nothing"),
    ({"proxy_protocol": True, "proxy_protocol_from": ["10.0.0.0/33"]}, "proxy_protocol_from"),
])
def test_who_may_send_proxy_headers_has_to_be_said(bare, listener, words):
    stack, settings = bare
    settings["listeners"][0].update(listener)
    conf = stack.folder / "proxies.yaml"
    conf.write_text(yaml.safe_dump(settings))
    done = run(program("tidegate"), "-c", conf, "--check", check=False)
    assert done.returncode == 1 and words in done.stderr


def test_the_shipped_example_is_good(own_stack):
    """With files of this machine in place of /etc/tidegate."""
    f = own_stack.folder
    conf = yaml.safe_load((ROOT / "deploy/tidegate.yaml").read_text())
    conf["certificates"] = [{"cert_file": str(own_stack.cert), "key_file": str(own_stack.key)}]
    conf["auth"].update({"key_ring_file": str(f / "keyring.json"), "signing_keys": str(f / "keys")})
    conf["issuers"][0]["keys"] = str(f / "keys")
    conf["hooks"]["sms"]["secret_file"] = str(f / "hook.secret")
    (f / "example.yaml").write_text(yaml.safe_dump(conf))
    assert "good" in run(program("tidegate"), "-c", f / "example.yaml", "--check").stdout


def test_accounts_that_could_not_sign_or_remember_are_refused(own_stack):
    """Not at the first sign-in, after its code is used up."""
    f = own_stack.folder
    own_stack.start_servers()
    conf = own_stack.settings()
    conf["process"]["state_dir"] = str(f)

    def check() -> str:
        (f / "conf.yaml").write_text(yaml.safe_dump(conf))
        done = run(program("tidegate"), "-c", f / "conf.yaml", "--check", check=False)
        return done.stdout if done.returncode == 0 else done.stderr
    assert "good" in check()
    run(program("tidectl"), "keys", "generate", f / "keys")
    assert f"auth.signing_keys {f / 'keys'}: " in check() and "several private keys" in check()
    for key in (f / "keys").iterdir():
        key.unlink()
    run(program("tidectl"), "keys", "generate", f / "keys")
    assert "good" in check()
    del conf["process"]["state_dir"]
    assert "need state_dir" in check()


def test_the_admin_api_is_not_for_pages(own_stack):
    own_stack.start_servers()
    gateway = own_stack.start_gateway(own_stack.settings())
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(gateway.socket)), base_url="http://admin", timeout=60) as http:
        def ask(**fields) -> int:
            return http.post("/admin/v1/policy/lint", content=b"{}", headers=fields).status_code
        assert ask() != 403
        assert ask(origin="https://other.example") == 403
        assert ask(**{"sec-fetch-site": "cross-site"}) == 403
