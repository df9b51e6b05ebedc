"""Scripts' texts: what is quoted how, what is refused, and that real shells read each name back."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies as st

from dagger.core.dedent import dedent_script
from dagger.core.script_text import placeholders, render, stands_alone
from dagger.errors import RefusedError

SHELLS = [shell for shell in ("bash", "dash") if shutil.which(shell)]

needs_bash = pytest.mark.skipif("bash" not in SHELLS, reason="no bash here")

# What a shell could take for something else than a name.
HOSTILE = [
    "a b",
    " ",
    "  two  spaces ",
    "it's",
    'say "x"',
    "$(touch pwned)",
    "`touch pwned`",
    "';touch pwned;'",
    '";touch pwned;"',
    "x;touch pwned",
    "x\ntouch pwned\n",
    "x&touch pwned&",
    "x|touch pwned",
    "$HOME",
    "${HOME}",
    "\\",
    "\\\\",
    "end\\",
    "\\n",
    "!",
    "!!",
    "-rf",
    "--",
    "-",
    "*",
    "?",
    "[a-z]*",
    "~",
    "~root",
    "#",
    "# no comment",
    "é ü 漢字",
    "}",
    "{",
    "{a,b}",
    ")",
    "(",
    "))",
    "a=b",
    "<x",
    ">x",
    "$'x'",
    "x\t",
    "\r",
    "'\"'\"'",
    "a,b",
    "1..3",
    "esac",
    "done",
    "2",
    "%1",
    "",
]
PIECES = st.sampled_from(
    ["a", "-", " ", "'", '"', "\\", "$", "`", "(", ")", "{", "}", ";", "&", "|", "\n", "*", "?", "#", "~",
     "!", "<", ">", "=", ",", ".", "/", "é", "[", "]", "^", "$(touch pwned)", "`touch pwned`", ";touch pwned;"]
)  # fmt: skip
NAMES = st.one_of(st.sampled_from(HOSTILE), st.lists(PIECES, max_size=12).map("".join))

# An argument, and what the program must get; y is the variable's value.
ARGUMENTS = {
    "{f}": "{}",
    '"{f}"': "{}",
    "'{f}'": "{}",
    "out-{f}.txt": "out-{}.txt",
    '"out-{f}.txt"': "out-{}.txt",
    "'out-{f}.txt'": "out-{}.txt",
    "'it'\\''s '{f}\"b\"": "it's {}b",
    "--file={f}": "--file={}",
    '--file="{f}"': "--file={}",
    '"$y{f}"': "y{}",
    "$y{f}": "y{}",
    "${{y}}{f}": "y{}",
    '"${{y}}{f}$y"': "y{}y",
    '"\\"{f}\\\\"': '"{}\\',
    "x\\\\{f}": "x\\{}",
    "'\\'{f}": "\\{}",
    "${{unset:-{f}}}": "{}",
    "${{y+x{f}}}": "x{}",
    '"$(printf %s {f}; printf x)"': "{}x",
    '"$(printf %s "{f}" "$(printf %s {f}; printf x)")"': "{}{}x",
    '"$(case a in (b) ;; a) printf %s {f}x;; esac)"': "{}x",
    '"$( # it\'s a ) comment\n printf %s {f}x)"': "{}x",
    '"$(cat <<E >/dev/null\nit\'s )\nE\nprintf %s {f}x)"': "{}x",
    "x$((1 + (2)))\"{f}\"'$('": "x3{}$(",
    '"${{y%\\}}}}{f}"': "y{}",
    "${{y#'}}'}}{f}": "y{}",
    "{f}{f}": "{}{}",
    "x#{f}": "x#{}",
}
BASH_ARGUMENTS = {
    "x$'{f}'": "x{}",
    "$'\\t{f}\\n'x": "\t{}\nx",
    'x$"{f}"': "x{}",
    "x{{{f},}}x": None,
}
# Commands around a command: %s is it, %e ends it (by ";" or a new line), %n is a new line where it needs one.
COMMANDS = [
    "%s",
    "( %s%n)",
    "{{ %s%e }}",
    "if true; then %s%e fi",
    "for i in 1; do %s%e done",
    "f() {{ %s%e }}; f",
    "f() ( %s%n); f",
    "f()\n{{\n%s%e }}\nf",
    "case x in y|z) echo ')';; (x) %s%n;; esac",
    "case x in\n  x) case y in y) %s%n ;; esac\n  ;;\n  (y)  ;; \nesac",
    "case $y in *) %s\nesac",
    ": $(true;%s%n)",
    ': "$(true&&%s%n)"',
    ': "$( (true;%s%n); : ")" )"',
    "# it's \"unbalanced `\n%s",
    "cat <<'E' >/dev/null\nit's \"$( `\nE\n%s",
    "cat <<E >/dev/null\nit's \" (\nE\n%s",
    ": \"it's\" 'a\"b' \\\" \\' a\\\nb; %s",
    ": $((1 << 2)) ${{#y}} $# a#b ${{y:-it\\'s}}; %s",
    "true &&\n%s",
    'x="$y" ; %s # it\'s\n',
    ": >/dev/null 2>&1; %s",
    "if ! false | false; then %s%e fi",
    ": `echo ok`; %s",
    ": \"`echo 'ok'`\"; %s",
    ": ${{y+`echo ')'`}} \"${{y+$(echo \\}} '}}')}}\"; %s",
]
BASH_COMMANDS = [
    "x=(a \"b)\" 'c' # it's\n d); %s",
    "[[ a =~ (a|b) && ! ( a < b ) ]] || true; %s",
    "for ((i=0; i<1; i++)); do %s%e done",
    "((1 + 2)); %s",
    'cat <<<"it\'s" >/dev/null; %s',
    ': <(echo ")"); %s',
    "function f {{ case x in x) %s%n;; esac; }}; f",
    ": &>/dev/null; %s",
    ": $'it' $'\"'; %s",
    "echo x |& cat >/dev/null; %s",
    "cat <<-\\E >/dev/null; %s\n\tit's \" (\n\tE\n",
]


def wrapped(outer: str, script: str) -> str:
    """Puts a command into another."""
    lines = "\n" in script or "#" in script
    return outer.replace("%e", "\n" if lines else ";").replace("%n", "\n" * lines).replace("%s", script)


def told(shell: str, script: str, folder: Path, beside: Sequence[str] = ()) -> list[str]:
    """Runs a script; returns the arguments that its `say` got."""
    out = folder / "out"
    out.unlink(missing_ok=True)
    prelude = "say() { printf '%s\\0' \"$@\" >>out; }; y=y\n"
    end = subprocess.run(
        [shell, "-eu", "-c", prelude + script],
        cwd=folder,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert end.returncode == 0, (script, end.stderr)
    assert sorted(os.listdir(folder)) == [*beside, "out"], script
    return [os.fsdecode(each) for each in out.read_bytes().split(b"\0")[:-1]]


def expected(pattern: str, name: str, template: str) -> str:
    starts = template.replace('"', "").replace("'", "").startswith("{f}")
    parts = pattern.split("{}")
    text = parts[0]
    for number, part in enumerate(parts[1:]):
        dashed = name.startswith("-") and ((number == 0 and starts) or "printf %s {f}" in template)
        dashed = dashed or (name.startswith("-") and template == "${{unset:-{f}}}")
        dashed = dashed or (name.startswith("-") and template.startswith('"$(printf %s "{f}"'))
        text += ("./" if dashed else "") + name + part
    return text


@pytest.mark.parametrize("shell", SHELLS)
@settings(max_examples=250, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_name_reaches_the_program_and_none_is_run(shell: str, tmp_path_factory, data) -> None:
    """In whatever quotes and commands a placeholder stands, the shell hands on exactly the name."""
    folder = tmp_path_factory.mktemp("fuzz")
    bash = shell == "bash"
    commands = COMMANDS + BASH_COMMANDS * bash
    arguments = {**ARGUMENTS, **(BASH_ARGUMENTS if bash else {})}
    template = data.draw(st.sampled_from([each for each in arguments if arguments[each]]))
    name = data.draw(NAMES)
    script = f"say {template}"
    for _ in range(data.draw(st.integers(0, 3))):
        outer = data.draw(st.sampled_from(commands))
        here = "$(" in outer and "<<" in script  # bash 5.2 loses a ";" when it prints that for itself
        if not here and not (outer.startswith("cat <<-") and "\n" in script):
            script = wrapped(outer, script)
    told_names = told(shell, render(script, {"f": name}), folder)
    assert told_names == [expected(arguments[template], name, template)], script


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("template", [*ARGUMENTS, *BASH_ARGUMENTS])
def test_each_hostile_name_in_each_place(shell: str, template: str, tmp_path: Path) -> None:
    """Every pair of a hostile name and a place, in one script each."""
    pattern = {**ARGUMENTS, **BASH_ARGUMENTS}[template]
    if shell != "bash" and template in BASH_ARGUMENTS:
        for name in HOSTILE:  # not read alike, but nothing is run
            folder = tmp_path / str(HOSTILE.index(name))
            folder.mkdir()
            subprocess.run([shell, "-c", "true " + render(template, {"f": name})], cwd=folder, check=False)
            assert not os.listdir(folder)
        return
    if pattern is None:
        pattern = "x{}x"
        names = [name for name in HOSTILE if not name.startswith("-")]
        script = "\n".join(render(f"say {template}", {"f": name}) for name in names)
        assert told(shell, script, tmp_path)[::2] == [f"x{name}x" for name in names]
        return
    script = "\n".join(render(f"say {template}", {"f": name}) for name in HOSTILE)
    assert told(shell, script, tmp_path) == [expected(pattern, name, template) for name in HOSTILE]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("template", ["say `printf %s {f}`", "say \"`printf %s '{f}'`\"", 'say `printf %s "{f}"`'])
def test_backticks_hand_on_the_name_or_refuse_it(shell: str, template: str, tmp_path: Path) -> None:
    """Within backticks a name is never run; outside of other quotes it is quoted through them."""
    for name in HOSTILE:
        try:
            script = render(template, {"f": name})
        except RefusedError:
            assert template.startswith('say "')
            continue
        shown = "./" + name if name.startswith("-") else name
        words = told(shell, "IFS=''\nset -f\n" + script, tmp_path)
        assert words == [shown.rstrip("\n")]


def test_plain_paths_go_in_as_they_are() -> None:
    """What one reads in the log is what one wrote, unless a name needs quotes."""
    text = render("sort {a} 'x/{a}' \"{a}\" > {b} # {a}", {"a": "../data/a_1%+@:,.csv", "b": "/tmp/out=1"})
    assert text == (
        "sort ../data/a_1%+@:,.csv 'x/../data/a_1%+@:,.csv' \"../data/a_1%+@:,.csv\" "
        "> '/tmp/out=1' # ../data/a_1%+@:,.csv"
    )


@pytest.mark.parametrize("shell", SHELLS)
def test_a_comment_stays_one(shell: str, tmp_path: Path) -> None:
    """A line break in a name does not end the comment that it stands in."""
    for name in HOSTILE:
        assert told(shell, render("# {f}\nsay a # '{f}\n", {"f": name}), tmp_path) == ["a"]


@needs_bash
def test_other_places_of_names(tmp_path: Path) -> None:
    """Redirections, lists of for, subjects and patterns of case, arrays, comparisons."""
    script = """
        say "$(< {odd})" "$(cat <{odd} {odd} 2>> {other})"
        for path in {all}; do say "$path"; done
        case {odd} in {other}) say no ;; {odd}) say yes ;; esac
        array=({all}); say "${{#array[@]}}" "${{array[@]}}"
        [[ {odd} == {odd} && a"{odd}" != {odd} && -f {odd} ]] && say same
        x={odd} y="{other}"; say "$x" "$y"
        sort < {odd} > {odd}.sorted && mv {odd}.sorted {odd}
    """
    odd = "odd *'$(touch pwned)"
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / odd).write_text("content")
    values = {"odd": "folder/" + odd, "other": "folder/- ;", "all": ["-n", "a  b", "c"]}
    said = told("bash", render(dedent_script(script), values), tmp_path, beside=["folder"])
    names = ["./-n", "a  b", "c"]
    assert said == ["content"] * 2 + names + ["yes", "3"] + names + ["same", values["odd"], values["other"]]
    assert sorted(os.listdir(folder)) == ["- ;", odd]


def test_several_paths_are_quoted_each() -> None:
    """A list stands for its paths with spaces between; an option-like name is no option."""
    values = {"all": ["a b", "-n", "c"], "one": ["x y"], "none": []}
    assert render("cat {all} '{one}' {none}", values) == "cat 'a b' ./-n c 'x y' "


@pytest.mark.parametrize("script", ['cat "{all}"', "cat '{all}'", "cat > {all}", "x={all}", "x=a{all} true"])
def test_several_paths_where_one_belongs_are_refused(script: str) -> None:
    """An assignment of two paths would run the second one."""
    with pytest.raises(RefusedError, match="room for one"):
        render(script, {"all": ["a", "b"]})


@pytest.mark.parametrize(
    "script",
    [
        "cat <<E\n{f}\nE",
        "cat <<'E'\n{f}\nE",
        "echo $(( {f} ))",
        "((x = {f}))",
        "let x={f}",
        "a[{f}]=1",
        "declare -a a=([{f}]=1)",
        "echo ${{x/{f}/}}",
        'echo "${{x:-{f}}}"',
        "eval cat {f}",
        "eval 'cat {f}'",
        "trap 'rm {f}' EXIT",
        "bash -c 'cat {f}'",
        'nice sh -euc "cat {f}"',
        "timeout 5 bash -o pipefail -c 'cat {f}'",
        "python3 -c 'print(\"{f}\")'",
        "perl -ne 'print \"{f}\"'",
        "ssh host cat {f}",
        "awk 'BEGIN {{ print \"{f}\" }}'",
        "sed 's/x/{f}/'",
        "find . -exec sh -c 'cat {f}' \\;",
        "[[ {f} -eq 1 ]]",
        "read {f}",
        'echo "{f}',
        ") {f}",
        "$[1] {f}",
        'eval "${{x:-{f}}}"',
    ],
)
def test_places_for_plain_paths_only(script: str) -> None:
    """Where quotes would not help, or dagger cannot tell, an odd name is refused and a plain one is not."""
    assert "data/x.csv" in render(script, {"f": "data/x.csv"})
    with pytest.raises(RefusedError, match="must be quoted"):
        render(script, {"f": "$(touch pwned)"})


@pytest.mark.parametrize(
    "script",
    [
        "bash -c 'cat \"$1\"' _ {f}",
        "python3 tool.py -c {f}",
        "awk '{{ print }}' {f}",
        "sed -n 1p {f}",
        "grep -e x {f}",
        "export X={f}",
        "local x={f}",
        "read -r x < {f}",
        'eval "$(tool {f})"',
        "test -f {f}",
        "bash {f}",
    ],
)
def test_arguments_beside_a_program_are_fine(script: str) -> None:
    """The list of commands that read programs does not keep a name from where it is a name."""
    assert "'a b'" in render(script, {"f": "a b"})


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("one\nawk '{print $1}' f", "twice"),
        ("one\ncat {y}", "no value"),
        ("one\necho {a,b}", "twice"),
        ("one\nf() { true\n}", "twice"),
        ("one\necho ${x}", "without a dollar"),
        ('one\necho "${x}"', "without a dollar"),
        ("one\necho \\{x}", "backslash"),
        ("one\ncat << {x}", "end is named"),
        ("one\necho ${{{x}}}", "variable's name"),
        ("one\necho $(( $y{x} ))", "part of the variable's name"),
        ("one\ncat <<E\n$y{x}\nE", "part of the variable's name"),
    ],
)
def test_refusals_show_the_line_and_the_way_out(script: str, said: str) -> None:
    """A brace of the shell's own, and places where no path can stand, are refused with their line."""
    with pytest.raises(RefusedError, match=r"script line [23]: ") as caught:
        render(script, {"x": "plain"})
    assert said in str(caught.value)


def test_a_path_cannot_end_its_here_document() -> None:
    """A file named as the delimiter is refused where its line would be the delimiter."""
    assert render("cat <<E\nx{f}\nE\n", {"f": "E"}) == "cat <<E\nxE\nE\n"
    with pytest.raises(RefusedError, match="would end the here-document"):
        render("cat <<E\n{f}\nE\n", {"f": "E"})


def test_dedent_keeps_inner_spaces_and_is_stable() -> None:
    """The margin goes, what is relative to it stays; a dedented text dedents to itself."""
    text = dedent_script("\n    if x; then\n      y\n\n        \n    fi\n  ")
    assert text == "if x; then\n  y\n\n    \nfi\n"
    assert dedent_script(text) == text
    assert dedent_script("echo a") == "echo a\n"
    assert dedent_script("\techo a\n\techo b") == "echo a\necho b\n"
    assert dedent_script("") == "\n"


@given(st.text(alphabet=" \ta\n'"))
def test_dedent_is_idempotent(text: str) -> None:
    """The text that counts is the text that runs, however often it was dedented."""
    assert dedent_script(dedent_script(text)) == dedent_script(text)


def test_placeholders_are_named_without_values() -> None:
    """Names are known before anything runs."""
    assert placeholders("cat {a} '{b}' # {c}\n ${{d}} {{e}}") == {"a", "b", "c"}
    assert placeholders("true") == frozenset()


@pytest.mark.parametrize(
    ("script", "alone"),
    [
        ("cat {a} > {o}", True),
        ("cat {o} {a}", True),
        ("for p in {a}; do cat $p; done", False),
        ("cat {o} > {a}", False),
        ("cat {o} >{a}", False),
        ("cat x{a}", False),
        ("cat {a}x", False),
        ("cat '{a}'", False),
        ("x={a}", False),
        ("case {a} in x) ;; esac", False),
        ("cat <<< {a}", False),
    ],
)
def test_a_quick_look_tells_where_several_paths_may_stand(script: str, alone: bool) -> None:
    """It may say no where they may, never yes where they may not: rendering would refuse them."""
    assert stands_alone(script, "a") is alone
    if alone:
        render(script, {"a": ["x", "y"], "o": "o"})
