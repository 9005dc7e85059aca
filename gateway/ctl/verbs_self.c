/* Verbs about tidectl itself: help, completion, manual pages. */
#include <stdio.h>

#include "gateway/ctl/verbs.h"

static const char bash_script[] =
    "_tidectl() {\n"
    "    local cur=${COMP_WORDS[COMP_CWORD]} line\n"
    "    COMPREPLY=()\n"
    "    while IFS=$'\\t' read -r line _; do\n"
    "        if [[ $line == :file ]]; then\n"
    "            compopt -o filenames 2>/dev/null\n"
    "            mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
    "        elif [[ $line == \"$cur\"* ]]; then\n"
    "            COMPREPLY+=(\"$line\")\n"
    "        fi\n"
    "    done < <(\"${COMP_WORDS[0]}\" __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)\n"
    "}\n"
    "complete -F _tidectl tidectl\n";

static const char zsh_script[] =
    "#compdef tidectl\n"
    "_tidectl() {\n"
    "    local -a found\n"
    "    local line\n"
    "    while IFS= read -r line; do\n"
    "        if [[ $line == :file ]]; then\n"
    "            _files\n"
    "        else\n"
    "            found+=(\"${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}\")\n"
    "        fi\n"
    "    done < <(\"$words[1]\" __complete \"${(@)words[2,CURRENT]}\" 2>/dev/null)\n"
    "    (( $#found )) && _describe tidectl found\n"
    "}\n"
    "if [[ $zsh_eval_context[-1] == loadautofunc ]]; then _tidectl \"$@\"; else compdef _tidectl tidectl; "
    "fi\n";

static const char fish_script[] =
    "function __tidectl_complete\n"
    "    set -l words (commandline -opc)\n"
    "    set -l cur (commandline -ct)\n"
    "    for line in ($words[1] __complete $words[2..-1] \"$cur\" 2>/dev/null)\n"
    "        if test \"$line\" = :file\n"
    "            __fish_complete_path \"$cur\"\n"
    "        else\n"
    "            echo $line\n"
    "        end\n"
    "    end\n"
    "end\n"
    "complete -c tidectl -f -a '(__tidectl_complete)'\n";

static const struct {
    const char *name, *script;
} shells[] = {{"bash", bash_script}, {"zsh", zsh_script}, {"fish", fish_script}};

static int completion(const struct ctl *c)
{
    for (unsigned i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(c->words[0], shells[i].name) == 0) {
            fputs(shells[i].script, stdout);
            return CTL_OK;
        }
    }
    return ctl_usage(c, "SHELL is bash, zsh or fish");
}

static int list_shells(const struct ctl *c)
{
    for (unsigned i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        printf("%s\n", shells[i].name);
    }
    return CTL_OK;
}

static int man(const struct ctl *c)
{
    const char *page = c->word_count > 0 ? c->words[0] : NULL;
    return ctl_manual(stdout, page) ? CTL_OK : ctl_usage(c, "there is no verb \"%s\"", page);
}

static int help(const struct ctl *c)
{
    if (c->form != CTL_TABLE) {
        ctl_print_verbs(c);
        return CTL_OK;
    }
    return ctl_help(c, c->words, c->word_count);
}

const struct ctl_verb ctl_verbs_self[] = {
    {
        .words = "help",
        .args = "[VERB...]",
        .summary = "this page, or a verb's",
        .about = "With -o json or yaml: the table of verbs and options, for tools.",
        .examples = "help policy set\n"
                    "help -o json",
        .run = help,
    },
    {
        .words = "completion",
        .args = "SHELL",
        .summary = "a script that completes tidectl's words: bash, zsh, fish",
        .about = "Names of workers, rules and versions are asked of the gateway as you type.",
        .examples = "completion bash > /usr/share/bash-completion/completions/tidectl\n"
                    "completion zsh > /usr/share/zsh/vendor-completions/_tidectl\n"
                    "completion fish > ~/.config/fish/completions/tidectl.fish",
        .names = list_shells,
        .run = completion,
    },
    {
        .words = "man",
        .args = "[WORD]",
        .summary = "manual pages, as roff",
        .about = "tidectl(1); with the first WORD of verbs, theirs.",
        .examples = "man > tidectl.1\n"
                    "man policy > tidectl-policy.1",
        .run = man,
    },
    {.words = NULL},
};
