"""Writes what bash, zsh and fish complete after numa-align, packaging/completion, from the commands' options.

Static files: a shell that starts reads none of them, and none of them starts the command.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from numa_align.cli import COMMANDS, cli
from numa_align.names import SPEC_VALUES, SPEC_WORDS

FILES = ("FILE", "PATH", "LOG...")
SPEC = (*SPEC_WORDS, *(f"{key}={value}" for key, values in SPEC_VALUES.items() for value in values))
GENERATED = "# Written by docs/make_completion.py from the commands' own options."


@dataclass(frozen=True)
class Option:
    """``value``: file, folder, spec, a word that is not completed (any), the words of a choice, or none."""

    names: tuple[str, ...]
    help: str
    value: str
    choices: tuple[str, ...] = ()

    @property
    def takes_value(self) -> bool:
        """Whether the next word is its value."""
        return self.value != "none"


@dataclass(frozen=True)
class Command:
    """A subcommand; ``value`` is what its arguments are, ``command`` for a command line of their own."""

    name: str
    help: str
    options: tuple[Option, ...]
    value: str = "none"
    choices: tuple[str, ...] = ()


def kind_of(parameter: click.Parameter) -> tuple[str, tuple[str, ...]]:
    """What a parameter takes."""
    if isinstance(parameter.type, click.Choice):
        return "choice", tuple(map(str, parameter.type.choices))
    metavar = parameter.metavar or ""
    if metavar in FILES:
        return "file", ()
    kinds = {"DIR": "folder", "SPEC": "spec", "COMMAND [ARG]...": "command"}
    return kinds.get(metavar, "any"), ()


def option_of(option: click.Option) -> Option:
    """An option with the first sentence of its help."""
    words = re.split(r"(?<=\.)\s|:\s|;\s", " ".join((option.help or "").split()))[0].rstrip(".:;")
    value, choices = ("none", ()) if option.is_flag else kind_of(option)
    return Option(tuple(sorted(option.opts, key=len)), words, value, choices)


def commands() -> Iterator[Command]:
    """All subcommands in the order of the help."""
    context = click.Context(cli, info_name="numa-align")
    helping = Option(("-h", "--help"), "Show this message and exit", "none")
    for name, summary in COMMANDS.items():
        command = cli.get_command(context, name)
        if command is None:
            continue
        options = (option_of(one) for one in command.params if isinstance(one, click.Option))
        kinds = [kind_of(one) for one in command.params if isinstance(one, click.Argument)]
        value, choices = kinds[0] if kinds else ("none", ())
        yield Command(name, summary.rstrip("."), (*options, helping), value, choices)


# -- bash ------------------------------------------------------------------------------------

_BASH = r"""
# Without the bash-completion package too. Readline completes names of files where COMPREPLY stays empty.
_numa_align_words() {{
	local IFS=$' \t\n'
	COMPREPLY=($(compgen -W "$1" -- "$2"))
	type compopt >/dev/null 2>&1 && compopt +o default
}}

# A list with commas: the last word is completed. "=" parts words for readline, which inserts behind it.
_numa_align_spec() {{
	local before= last=$1 one
	case $last in *,*) before=${{last%,*}},; last=${{last##*,}} ;; esac
	_numa_align_words '{spec}' "$last"
	for one in "${{!COMPREPLY[@]}}"; do
		COMPREPLY[one]=$before${{COMPREPLY[one]}}
		case $COMP_WORDBREAKS:$1 in *=*:*=*) COMPREPLY[one]=${{COMPREPLY[one]#"${{1%=*}}="}} ;; esac
	done
}}

_numa_align_value() {{
	case $1 in
	spec) _numa_align_spec "$2" ;;
	file | folder) ;;
	any) _numa_align_words '' '' ;;
	*) _numa_align_words "${{1//|/ }}" "$2" ;;
	esac
}}

_numa_align() {{
	local line=${{COMP_LINE:0:COMP_POINT}} words=() command= at last kind
	COMPREPLY=()
	read -ra words <<<"$line"
	case $line in *[[:space:]]) words+=('') ;; esac
	last=${{words[${{#words[@]}} - 1]}}
	command=${{words[1]}}
	if ((${{#words[@]}} <= 2)); then
		_numa_align_words '{names} --help --version' "$last"
		return
	fi
	for ((at = 2; at < ${{#words[@]}} - 1; at++)); do
		kind=$(_numa_align_kind "$command" "${{words[at]}}")
		case ${{words[at]}} in
		--) [[ $command = run ]] && {{ ((at++)); break; }} ;;
		-*=*) ;;
		-*)
			[[ $kind = none ]] && continue
			((at++))
			((at == ${{#words[@]}} - 1)) && {{ _numa_align_value "$kind" "$last"; return; }}
			;;
		*) [[ $command = run ]] && break ;;
		esac
	done
	if [[ $command = run ]] && ((at < ${{#words[@]}} - 1)); then
		# Arguments of the command that is run: its own completion where bash-completion can ask for it.
		if type _command_offset >/dev/null 2>&1; then
			for ((kind = 0; kind < COMP_CWORD; kind++)); do
				[[ ${{COMP_WORDS[kind]}} = "${{words[at]}}" ]] && break
			done
			_command_offset "$kind"
		fi
		return
	fi
	case $last in
	--*=*) _numa_align_value "$(_numa_align_kind "$command" "${{last%%=*}}")" "${{last#*=}}" ;;
	-*)
		_numa_align_words "$(_numa_align_options "$command")" "$last"
		;;
	*)
		case $command in
{arguments}
		*) _numa_align_words '' '' ;;
		esac
		;;
	esac
}}

_numa_align_options() {{
	case $1 in
{options}
	esac
}}

_numa_align_kind() {{
	case $1:$2 in
{kinds}
	*) echo none ;;
	esac
}}

complete -o default -F _numa_align numa-align
"""


def bash(known: Sequence[Command]) -> str:
    """A function, and what it has to know of each option."""
    arguments, options, kinds = [], [], []
    for command in known:
        options.append(f"\t{command.name}) echo '{' '.join(n for o in command.options for n in o.names)}' ;;")
        for option in command.options:
            if option.takes_value:
                patterns = " | ".join(f"{command.name}:{name}" for name in option.names)
                kinds.append(f"\t{patterns}) echo '{'|'.join(option.choices) or option.value}' ;;")
        if command.value == "command":
            arguments.append(f'\t\t{command.name}) COMPREPLY=($(compgen -c -- "$last")) ;;')
        elif command.value == "choice":
            arguments.append(
                f"\t\t{command.name}) _numa_align_words '{' '.join(command.choices)}' \"$last\" ;;"
            )
        elif command.value == "file":
            arguments.append(f"\t\t{command.name}) ;;")
    return (
        "# shellcheck shell=bash disable=SC2207,SC2317\n"
        + GENERATED
        + _BASH.format(
            spec=" ".join(SPEC),
            names=" ".join(command.name for command in known),
            arguments="\n".join(arguments),
            options="\n".join(options),
            kinds="\n".join(kinds),
        )
    )


#: What completes a value, in the words of shells that take a description; CHOICES stands for its words.
_VALUES = {
    "file": {"zsh": ":file:_files", "fish": "-r -F"},
    "folder": {"zsh": ":folder:_files -/", "fish": "-x -a '(__fish_complete_directories (commandline -ct))'"},
    "spec": {"zsh": ":words:_numa_align_spec", "fish": "-x -a '(__numa_align_spec)'"},
    "choice": {"zsh": ":word:(CHOICES)", "fish": "-x -a 'CHOICES'"},
    "any": {"zsh": ": : ", "fish": "-x"},
    "none": {"zsh": "", "fish": ""},
}


def _value(shell: str, value: str, choices: Sequence[str]) -> str:
    return _VALUES[value][shell].replace("CHOICES", " ".join(choices))


# -- zsh -------------------------------------------------------------------------------------


def _zsh_help(words: str) -> str:
    for character in "\\[]:":
        words = words.replace(character, "\\" + character)
    return words.replace("'", "'\\''")


def zsh(known: Sequence[Command]) -> str:
    """A function for compinit, which finds it by its name in fpath."""
    lines = ["#compdef numa-align", GENERATED, "", "_numa_align_spec() {"]
    values = " ".join(f"'{key}: :({' '.join(values)})'" for key, values in SPEC_VALUES.items())
    lines += [f"\t_values -s , word {' '.join(SPEC_WORDS)} {values}", "}", "", "_numa_align() {"]
    lines += ["\tlocal curcontext=$curcontext state line", "\ttypeset -A opt_args"]
    lines += ["\t_arguments -C '(- *)'{-h,--help}'[Show this message and exit]' \\"]
    lines += [
        "\t\t'(- *)--version[Show the version and exit]' '1:command:->command' '*::argument:->argument'"
    ]
    lines += ["\tcase $state in", "\tcommand)", "\t\tlocal -a commands=("]
    lines += [f"\t\t\t'{command.name}:{_zsh_help(command.help)}'" for command in known]
    lines += ["\t\t)", "\t\t_describe -t commands command commands", "\t\t;;", "\targument)"]
    lines += ["\t\tcase $line[1] in"]
    for command in known:
        lines.append(f"\t\t{command.name})")
        specs = [
            f"'{name}{'=' if name.startswith('--') and option.takes_value else ''}"
            f"[{_zsh_help(option.help)}]{_value('zsh', option.value, option.choices)}'"
            for option in command.options
            for name in option.names
        ]
        if command.value == "command":
            specs += ["'(-)1:command:_command_names -e'", "'*::argument:_normal'"]
        elif command.value != "none":
            specs.append(f"'*{_value('zsh', command.value, command.choices)}'")
        start = "-S -A '-*' " if command.value == "command" else ""
        lines.append(f"\t\t\t_arguments {start}" + " \\\n\t\t\t\t".join(specs))
        lines.append("\t\t\t;;")
    lines += ["\t\tesac", "\t\t;;", "\tesac", "}", "", '_numa_align "$@"']
    return "\n".join(lines) + "\n"


# -- fish ------------------------------------------------------------------------------------

_FISH = r"""
function __numa_align_command
    set -l words (commandline -opc)
    test (count $words) -ge 2; and test $words[2] = $argv[1]
end

function __numa_align_none
    test (count (commandline -opc)) -eq 1
end

# The number of the word that run starts, if it is there.
function __numa_align_run
    set -l words (commandline -opc)
    __numa_align_command run; or return 1
    set -l at 3
    while test $at -le (count $words)
        switch $words[$at]
            case --
                test $at -lt (count $words); or return 1
                echo (math $at + 1)
                return 0
            case {valued}
                set at (math $at + 1)
            case '-*'
            case '*'
                echo $at
                return 0
        end
        set at (math $at + 1)
    end
    return 1
end

function __numa_align_run_arguments
    set -l at (__numa_align_run); or return
    set -l words (commandline -opc) (commandline -ct)
    complete -C (string join ' ' -- (string escape -- $words[$at..-1]))
end

function __numa_align_spec
    set -l token (string replace -r '^--[^=]*=' '' -- (commandline -ct))
    set -l before (string match -r '.*,' -- $token)
    for word in {spec}
        echo "$before$word"
    end
end

complete -c numa-align -f
complete -c numa-align -n __numa_align_none -s h -l help -d 'Show this message and exit'
complete -c numa-align -n __numa_align_none -l version -d 'Show the version and exit'
"""


def _quoted(words: str) -> str:
    return "'" + words.replace("\\", "\\\\").replace("'", "\\'") + "'"


def fish(known: Sequence[Command]) -> str:
    """One line for each option."""
    run = next(command for command in known if command.value == "command")
    valued = " ".join(name for option in run.options if option.takes_value for name in option.names)
    text = GENERATED + _FISH.replace("{valued}", valued).replace("{spec}", " ".join(SPEC))
    lines = []
    for command in known:
        lines.append(
            f"complete -c numa-align -n __numa_align_none -a {command.name} -d {_quoted(command.help)}"
        )
        inside = f"complete -c numa-align -n '__numa_align_command {command.name}"
        inside += "; and not __numa_align_run >/dev/null'" if command is run else "'"
        for option in command.options:
            names = " ".join(f"-l {n[2:]}" if n.startswith("--") else f"-s {n[1:]}" for n in option.names)
            words = (inside, names, _value("fish", option.value, option.choices), "-d", _quoted(option.help))
            lines.append(" ".join(word for word in words if word))
        if command is run:
            lines.append(f"{inside} -a '(__fish_complete_command)'")
            lines.append(
                "complete -c numa-align -n '__numa_align_run >/dev/null' -a '(__numa_align_run_arguments)'"
            )
        elif command.value == "file":
            lines.append(f"{inside} -F")
        elif command.value == "choice":
            lines.append(f"{inside} {_value('fish', 'choice', command.choices)}")
    return text + "\n".join(lines) + "\n"


def main(folder: Path) -> None:
    """All three below ``folder``, by the names under which the shells look for them."""
    known = list(commands())
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (
        ("numa-align", bash(known)),
        ("_numa-align", zsh(known)),
        ("numa-align.fish", fish(known)),
    ):
        (folder / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "packaging" / "completion")
