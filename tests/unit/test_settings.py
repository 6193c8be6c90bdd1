"""Settings: from where they are read, what is refused and in which words, and that their page is in step."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.core.errors import SettingsError
from actors.core.model import Policy, Share
from actors.core.quantity import Quota
from actors.edge.setting import Setting
from actors.edge.settings import GROUPS, TABLE, Settings
from actors.edge.settings_load import load, read_token, require_backend
from actors.ops.settings_page import as_json, as_text, markdown

ROOT = Path(__file__).parents[2]
BY_NAME = {each.name: each for each in TABLE}


def file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "muster.yaml"
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(
    flags: dict[str, str] | None = None, environ: dict[str, str] | None = None, config: str | None = None
) -> str:
    with pytest.raises(SettingsError) as caught:
        load(flags, environ, config)
    return str(caught.value)


# --- the table --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("each", TABLE, ids=lambda each: str(each.name))
def test_every_setting_says_what_it_does_and_why_that_number(each: Setting) -> None:
    setting = BY_NAME[each.name]

    assert len(setting.effect) > 15
    assert len(setting.reason) > 5
    assert setting.group in GROUPS
    assert setting.form.expected


@pytest.mark.parametrize("each", TABLE, ids=lambda each: str(each.name))
def test_a_default_reads_back_as_it_is_shown(each: Setting) -> None:
    setting = BY_NAME[each.name]
    value = getattr(Settings(), setting.attribute)

    assert setting.read(setting.show(value)) == value


def test_names_follow_from_the_attribute() -> None:
    setting = BY_NAME["batch-quiet"]

    assert (setting.attribute, setting.flag, setting.env, setting.key) == (
        "batch_quiet_s", "--batch-quiet", "MUSTER_BATCH_QUIET", "batchQuiet",
    )  # fmt: skip


def test_the_defaults_are_the_documented_ones() -> None:
    settings = Settings()

    assert settings.quota == Quota(10, 1.0)
    assert (settings.batch_max, settings.batch_quiet_s) == (100, 0.05)
    assert settings.max_unhealthy == Share(percent=50.0)
    assert settings.heartbeat_timeout_s is None
    assert settings.policy == Policy(cooldown_max_s=3600.0, attempts_max=5)
    assert settings.max_unhealthy_fleet == Share(percent=50.0)


def test_the_page_of_settings_is_in_step_with_the_table() -> None:
    """Write it anew with: python supervisor.py config --format markdown > docs/settings.md"""
    page = ROOT / "docs" / "settings.md"
    if not page.exists():
        pytest.skip("docs/ is not beside these tests")

    assert page.read_text(encoding="utf-8") == markdown()


# --- precedence and origins -------------------------------------------------------------------------------------------
def test_a_flag_beats_a_variable_beats_the_file_beats_the_default(tmp_path: Path) -> None:
    config = file(tmp_path, "quota: 1/1s\nbatchMax: 1\nworkers: 3\n")
    environ = {"MUSTER_QUOTA": "2/1s", "MUSTER_BATCH_MAX": "2"}

    loaded = load({"quota": "3/1s"}, environ, config)

    assert (loaded.settings.quota.calls, loaded.settings.batch_max, loaded.settings.workers) == (3, 2, 3)
    assert [loaded.origins[name] for name in ("quota", "batch-max", "workers", "grace")] == [
        "flag --quota", "MUSTER_BATCH_MAX", f"{config}:3", "default",
    ]  # fmt: skip


def test_the_file_is_found_by_variable_too(tmp_path: Path) -> None:
    assert load({}, {"MUSTER_CONFIG": file(tmp_path, "workers: 4")}).settings.workers == 4


def test_an_empty_variable_is_one_that_is_not_set() -> None:
    """A manifest's template can rarely leave one out."""
    assert load({}, {"MUSTER_QUOTA": "", "MUSTER_CONFIG": ""}).settings.quota == Quota(10, 1.0)


def test_the_file_takes_what_yaml_makes_of_it(tmp_path: Path) -> None:
    config = file(
        tmp_path,
        "heartbeatTimeout: off\nlisten: off\nrepairEnabled: false\nmaxUnhealthy: 5\nminHealthy: 0\n"
        "coldStart: 0s\nnamespace: fleet-a\nmaxInFlight: 7\nlogLevel: debug\n",
    )

    settings = load({}, {}, config).settings

    assert settings.heartbeat_timeout_s is None
    assert settings.listen_address is None
    assert settings.repair_enabled is False
    assert settings.max_unhealthy == Share(absolute=5)
    assert (settings.min_healthy, settings.cold_start_s, settings.namespace) == (0, 0.0, "fleet-a")
    assert (settings.max_in_flight, settings.log_level) == (7, "debug")


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n"])
def test_an_empty_file_changes_nothing(tmp_path: Path, text: str) -> None:
    assert load({}, {}, file(tmp_path, text)).settings == Settings()


# --- refusals ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("quota", "10"), ("quota", "0/1s"), ("quota", "10/0s"), ("quota", "-1/1s"), ("quota", "100001/1s"),
        ("quota", "10/1ms"), ("batch-max", "0"), ("batch-max", "10001"), ("batch-max", "1.5"), ("batch-max", "١"),
        ("batch-quiet", "50"), ("batch-quiet", "2m"), ("backend-timeout", "0s"), ("backend-timeout", "1d"),
        ("max-unhealthy", "101%"), ("max-unhealthy", "-1"), ("max-unhealthy", "1000001"), ("max-unhealthy", "50.5%"),
        ("heartbeat-timeout", "999ms"), ("heartbeat-timeout", "25h"), ("heartbeat-timeout", "auto"),
        ("cold-start", "off"), ("cold-start", "-1s"), ("repair-enabled", "yes"), ("repair-enabled", "False"),
        ("log-format", "xml"), ("log-level", "INFO"), ("listen", "8080"), ("listen", "a:b"), ("listen", ":65536"),
        ("listen", "::1:80"), ("namespace", "Fleet"), ("namespace", "a/b"), ("namespace", "-a"), ("kubeconfig", "a\0b"),
        ("backend-url", "repairs:8080"), ("backend-url", "ftp://a"), ("backend-url", "http://"), ("backend-url", "http://a b"),
        ("backend-url", "http://a:99999"), ("backend-url", "http://a/?x=1"), ("backend-url", "http://[::1"),
        ("backend-url", "http://a:0"), ("workers", "0"), ("workers", "65"), ("grace", "0s"), ("idle", ""),
    ],
)  # fmt: skip
def test_a_bad_value_is_refused_by_name_place_find_and_expectation(name: str, value: str) -> None:
    message = refusal({name: value})

    assert message.startswith(f"{name} (flag --{name}): found {value!r}, expected ")
    assert BY_NAME[name].form.expected in message


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ("quota: 10", "quota"), ("heartbeatTimeout: 60", "heartbeat-timeout"), ("batchMax: '1 00'", "batch-max"),
        ("batchMax: true", "batch-max"), ("batchMax: 1.0", "batch-max"), ("batchMax: [1]", "batch-max"),
        ("repairEnabled: 1", "repair-enabled"), ("backendUrl: null", "backend-url"), ("idle: 2026-13-45", "idle"),
        ("logLevel: {a: b}", "log-level"), ("quota: 2026-01-01", "quota"), ("debounce: .nan", "debounce"),
    ],
)  # fmt: skip
def test_a_bad_line_of_the_file_is_refused_with_its_place(tmp_path: Path, line: str, name: str) -> None:
    config = file(tmp_path, f"# settings\n{line}\n")

    message = refusal(config=config)

    assert message.startswith(f"{name} ({config}:2): found ")
    assert BY_NAME[name].form.expected in message


@pytest.mark.parametrize(
    ("key", "meant"),
    [("batch-max", "batchMax"), ("BATCH_MAX", "batchMax"), ("quotta", "quota"), ("backendurl", "backendUrl")],
)
def test_an_unknown_key_is_answered_with_the_nearest(tmp_path: Path, key: str, meant: str) -> None:
    config = file(tmp_path, f"{key}: 1\n")

    assert refusal(config=config) == f"{config}:1: {key!r} is no setting: did you mean {meant}?"


def test_an_unknown_key_that_is_near_nothing_is_told_where_to_look(tmp_path: Path) -> None:
    assert "see muster config" in refusal(config=file(tmp_path, "zzzzzzzzzz: 1\n"))


def test_all_problems_are_told_at_once(tmp_path: Path) -> None:
    config = file(tmp_path, "quotta: 1\nworkers: many\n")

    lines = refusal({"grace": "1"}, {"MUSTER_IDLE": "x"}, config).splitlines()

    assert [line.split(" ")[0] for line in lines] == [f"{config}:1:", "workers", "idle", "grace"]


def test_a_key_given_twice_is_refused(tmp_path: Path) -> None:
    """YAML would take the last without a word."""
    config = file(tmp_path, "workers: 2\nquota: 1/1s\nworkers: 3\n")

    assert refusal(config=config) == f"{config}:3: workers is given twice, first at {config}:1: remove one"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a: [", "is not YAML: line 1"), (b"- a\n", ":1: expected settings"), (b"quota", ":1: expected settings"),
        (b"\xff\xfe\xfa", "is not YAML"), (b"quota: \x01", "is not YAML"), (b"a: b\n---\nc: d\n", "is not YAML"),
        (b"quota: !!python/object:os.system x", "quota ("), (b"x" * 2_000_000, "larger than"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_settings_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    path = tmp_path / "muster.yaml"
    path.write_bytes(content)

    message = refusal(config=str(path))

    assert str(path) in message
    assert told in message


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    message = refusal(config=str(tmp_path / "none.yaml"))

    assert message == (
        f"the configuration file {tmp_path}/none.yaml cannot be read (No such file or directory): "
        "name another with --config or MUSTER_CONFIG"
    )


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    assert "Is a directory" in refusal(config=str(tmp_path))


def test_contradicting_settings_are_refused_with_both_origins() -> None:
    message = refusal({"debounce": "5s"}, {"MUSTER_DEBOUNCE_MAX": "1s"})

    assert message == (
        "debounce (flag --debounce) and debounce-max (MUSTER_DEBOUNCE_MAX): the quiet time 5s is longer than the longest "
        "wait 1s: lower the first or raise the second"
    )


def test_a_flag_that_is_none_is_refused() -> None:
    assert refusal({"qouta": "1/1s"}) == "--qouta is no setting: did you mean --quota?"


@pytest.mark.parametrize("url", ["http://user:s3cret@a", "http://user:s3cret@a:99999", "http://user:s3cret@[a"])
def test_credentials_in_a_url_are_refused_and_not_repeated(url: str) -> None:
    message = refusal({"backend-url": url})

    assert "s3cret" not in message
    assert "hidden" in message


# --- what is derived --------------------------------------------------------------------------------------------------
def test_the_cold_start_outlasts_every_call_of_an_earlier_process() -> None:
    settings = load({"quota": "10/2s", "backend-timeout": "3s", "backend-lateness": "1s"}).settings

    assert settings.cold_start_in_force_s == 6.0


def test_a_shorter_cold_start_is_allowed_and_its_danger_told() -> None:
    loaded = load({"cold-start": "0s"})

    assert loaded.settings.cold_start_in_force_s == 0.0
    assert any("cold-start 0s is shorter" in note and "quota may be exceeded" in note for note in loaded.notes)


def test_defaults_give_no_notes() -> None:
    assert load().notes == ()


@pytest.mark.parametrize(
    ("name", "noted"),
    [
        ("MUSTER_QOUTA", "did you mean MUSTER_QUOTA?"), ("MUSTER_BATCHMAX", "did you mean MUSTER_BATCH_MAX?"),
        ("MUSTER_SERVICE_HOST", ""), ("MUSTER_SERVICE_PORT_HTTP", ""), ("MUSTER_PORT", ""),
        ("MUSTER_PORT_8080_TCP_ADDR", ""), ("MUSTER_METRICS_SERVICE_HOST", ""), ("MUSTER_PYTHON", ""),
        ("MUSTER_TEST_SEED", ""), ("OTHER", ""),
    ],
)  # fmt: skip
def test_an_unknown_variable_is_noted_unless_kubernetes_or_we_made_it(name: str, noted: str) -> None:
    """A Service called muster puts MUSTER_PORT and the like into every Pod of its namespace."""
    notes = load({}, {name: "tcp://10.0.0.1:8080"}).notes

    assert bool(notes) is bool(noted)
    assert noted in "".join(notes)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("0.0.0.0:8080", ("0.0.0.0", 8080)), (":0", ("0.0.0.0", 0)), ("[::1]:80", ("::1", 80)),
        ("localhost:9", ("localhost", 9)), ("off", None), ("", None),
    ],
)  # fmt: skip
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int] | None) -> None:
    assert load({"listen": text}).settings.listen_address == address


def test_the_policy_is_what_the_settings_say() -> None:
    flags = {
        "heartbeat-timeout": "60s", "debounce": "1s", "debounce-max": "3s", "min-healthy": "4", "repair-enabled": "false",
        "max-unhealthy": "7", "cooldown": "9m", "max-in-flight": "5",
        "cooldown-max": "2h", "max-attempts": "off",
    }  # fmt: skip

    assert load(flags).settings.policy == Policy(
        heartbeat_timeout_s=60.0, debounce_quiet_s=1.0, debounce_max_s=3.0, min_healthy=4, repair_enabled=False,
        max_unhealthy=Share(absolute=7), cooldown_s=540.0, in_flight_max=5,
        cooldown_max_s=7200.0, attempts_max=None,
    )  # fmt: skip


# --- the backend ------------------------------------------------------------------------------------------------------
def test_run_requires_a_backend() -> None:
    with pytest.raises(SettingsError, match="backend-url is not set: give --backend-url URL, MUSTER_BACKEND_URL or"):
        require_backend(load())


def test_a_token_is_read_without_its_line_end(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("abc.def-1\n")

    assert read_token(str(path)) == "abc.def-1"
    require_backend(load({"backend-url": "http://a", "backend-token-file": str(path)}))


@pytest.mark.parametrize("content", [b"", b"\n", b"two words", b"two\nlines", b"\xc3\xa4", b"a" * 20_000])
def test_a_file_without_a_token_is_refused_and_not_repeated(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "token"
    path.write_bytes(content)

    with pytest.raises(SettingsError) as caught:
        require_backend(load({"backend-url": "http://a", "backend-token-file": str(path)}))

    assert str(caught.value).startswith(f"backend-token-file (flag --backend-token-file): {path}: expected one line")
    assert "two" not in str(caught.value)


def test_a_token_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="No such file"):
        require_backend(load({"backend-url": "http://a", "backend-token-file": str(tmp_path / "none")}))


# --- shown ------------------------------------------------------------------------------------------------------------
def test_what_is_in_force_is_shown_with_its_origin() -> None:
    loaded = load({"quota": "3/1m"})

    assert '"value": "3/1m",\n    "origin": "flag --quota"' in as_json(loaded)
    assert "auto (1m15s)" in as_text(loaded) or "auto (75s)" in as_text(loaded)
