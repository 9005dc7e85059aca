/* --help: the first page, and a page for each verb, made of the tables. */
#include <stdio.h>

#include "gateway/ctl/verbs.h"

enum { WIDTH = 96, COLUMN = 34 };

const char ctl_help_attack[] =
    "check                                      # is all well? exit 3 when not\n"
    "attack status                              # has the gateway acted by itself already, and why?\n"
    "limits top                                 # who is refused most; ban add ADDRESS turns one away\n"
    "sms top                                    # what the codes cost, and which prefixes are blocked\n"
    "policy get                                 # who may sign up now, since when, why\n"
    "policy set mainland-phone-only --reason \"attack on sign-up\"\n"
    "                                           # only mainland phones sign up; whoever has an account is\n"
    "                                           # not touched; every gateway within a second, and public\n"
    "policy emergency-close --reason \"worse\"    # nobody signs up, even while the database is away\n"
    "policy emergency-open --reason \"better\"    # back to what stood before that\n"
    "policy history                             # what was in force before: its VERSION\n"
    "policy rollback VERSION --reason \"over\"    # back to that; or policy set open\n";

const struct ctl_exit_row ctl_exit_rows[] = {
    {CTL_OK, "done"},
    {CTL_FAILED, "the work failed"},
    {CTL_USAGE, "wrong words; nothing was done"},
    {CTL_DEGRADED, "a condition is false: something is not well, something was found"},
    {CTL_DENIED, "not allowed"},
    {CTL_NOT_FOUND, "no such thing"},
    {CTL_CONFLICT, "in the way of what is there: another version is in force than --if-version said, a file "
                   "exists, a ramp runs"},
    {CTL_UNREACHABLE, "no gateway there, or it has no database now"},
    {0, NULL},
};

const char ctl_environment[] = "TIDEGATE_ADMIN_SOCKET  as --socket (else /run/tidegate/admin.sock)\n"
                               "TIDEGATE_ADMIN_URL  as --server\n"
                               "TIDEGATE_ADMIN_CERT  as --cert\n"
                               "TIDEGATE_ADMIN_KEY  as --key\n"
                               "TIDEGATE_ADMIN_CA  as --ca; else the authorities of this machine\n"
                               "TIDEGATE_PG  as --database\n";

/* --- pieces ------------------------------------------------------------------------------------------ */

/* Text broken at spaces, each line from this column on; the first goes on where the cursor is. */
static void print_wrapped(struct str text, int column)
{
    struct str word;
    int at = column;
    for (bool first = true; ctl_next_word(&text, &word); first = false) {
        if (!first && at + 1 + (int)word.n > WIDTH) {
            printf("\n%*s", column, "");
            at = column;
        } else if (!first) {
            printf(" ");
            at++;
        }
        printf(STR_FMT, STR_ARG(word));
        at += (int)word.n;
    }
    printf("\n");
}

static void print_paragraphs(const char *text)
{
    struct str rest = str_from(text);
    struct str line;
    while (str_cut(&rest, '\n', &line)) {
        if (line.n == 0) {
            printf("\n");
        } else {
            printf("  ");
            print_wrapped(line, 2);
        }
    }
}

static void print_examples(const char *text)
{
    struct str rest = str_from(text);
    struct str line;
    while (str_cut(&rest, '\n', &line)) {
        printf("  %s" STR_FMT "\n", line.p[0] == ' ' ? "        " : "tidectl ", STR_ARG(line));
    }
}

/* "  name of it      what it is": wrapped beside; long names get a line of their own. */
static void print_row(struct str name, struct str text)
{
    printf("  " STR_FMT, STR_ARG(name));
    if (name.n + 4 > COLUMN) {
        printf("\n%*s", COLUMN, "");
    } else {
        printf("%*s", COLUMN - 2 - (int)name.n, "");
    }
    print_wrapped(text, COLUMN);
}

static void print_option(const struct ctl_option *o, bool is_wanted)
{
    char name[96];
    char text[256];
    char letter[8] = "    ";
    if (o->letter != '\0') {
        snprintf(letter, sizeof letter, "-%c, ", o->letter);
    }
    snprintf(name, sizeof name, "%s--%s%s%s", letter, o->name, o->value != NULL ? " " : "",
             o->value == NULL        ? ""
             : o->type == CTL_CHOICE ? "FORM"
                                     : o->value);
    snprintf(text, sizeof text, "%s%s%s%s", o->help, o->type == CTL_CHOICE ? ": " : "",
             o->type == CTL_CHOICE ? o->value : "", is_wanted ? " (has to be given)" : "");
    print_row(str_from(name), str_from(text));
}

static bool print_verb_row(const struct ctl_verb *v)
{
    char name[96];
    snprintf(name, sizeof name, "%s%s%s", v->words, v->args != NULL ? " " : "",
             v->args != NULL ? v->args : "");
    print_row(str_from(name), str_from(v->summary));
    return true;
}

static void print_environment(void)
{
    struct str rest = str_from(ctl_environment);
    struct str line;
    while (str_cut(&rest, '\n', &line)) {
        struct str name;
        (void)str_cut(&line, ' ', &name);
        print_row(name, line);
    }
}

/* --- pages ------------------------------------------------------------------------------------------- */

static void print_first_page(void)
{
    printf("tidectl: the operator's command line of Tidegate\n\n"
           "Usage: tidectl VERB [ARGUMENTS] [OPTIONS]        tidectl VERB --help tells more\n\n"
           "We are under attack\n");
    print_examples(ctl_help_attack);
    for (const struct ctl_group *g = ctl_groups; g->title != NULL; g++) {
        printf("\n%s\n", g->title);
        for (const struct ctl_verb *v = g->verbs; v->words != NULL; v++) {
            print_verb_row(v);
        }
    }
    printf("\nOptions of every verb\n");
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        if (o->is_everywhere) {
            print_option(o, false);
        }
    }
    printf("\nEnvironment\n");
    print_environment();
    printf("\nExit codes\n");
    for (const struct ctl_exit_row *e = ctl_exit_rows; e->text != NULL; e++) {
        char code[16];
        snprintf(code, sizeof code, "%d", e->code);
        print_row(str_from(code), str_from(e->text));
    }
}

static void print_own_options(const struct ctl_verb *v)
{
    bool any = false;
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        bool is_wanted = false;
        if (ctl_verb_takes(v, o, &is_wanted) && !o->is_everywhere) {
            printf("%s", any ? "" : "\nOptions\n");
            print_option(o, is_wanted);
            any = true;
        }
    }
}

static void print_verb_page(const struct ctl_verb *v)
{
    printf("tidectl %s%s%s [OPTIONS]\n\n  %s\n", v->words, v->args != NULL ? " " : "",
           v->args != NULL ? v->args : "", v->summary);
    if (v->examples != NULL) {
        printf("\nExamples\n");
        print_examples(v->examples);
    }
    if (v->about != NULL) {
        printf("\n");
        print_paragraphs(v->about);
    }
    print_own_options(v);
    printf("\n");
    if (v->level != CTL_LEVEL_NONE) {
        printf("Wants level %s at the gateway. ", ctl_level_name(v->level));
    }
    printf("%s%s%sOptions of every verb, exit codes: tidectl --help\n", v->exits != NULL ? "Exit " : "",
           v->exits != NULL ? v->exits : "", v->exits != NULL ? ". " : "");
}

struct choice {
    const char *const *words;
    int n;
    unsigned shown;
};

static bool print_if_begins(void *arg, const struct ctl_verb *v)
{
    struct choice *x = arg;
    if (ctl_verb_begins(v, x->words, x->n)) {
        x->shown++;
        print_verb_row(v);
    }
    return true;
}

int ctl_help(const struct ctl *c, const char *const *words, int n)
{
    struct choice x = {.words = words, .n = n};
    int used = 0;
    const struct ctl_verb *v = ctl_verb_find(words, n, &used);
    if (n == 0) {
        print_first_page();
        return CTL_OK;
    }
    if (v != NULL) {
        print_verb_page(v);
        return CTL_OK;
    }
    ctl_verbs_walk(print_if_begins, &x);
    if (x.shown > 0) {
        printf("\ntidectl VERB --help tells more\n");
        return CTL_OK;
    }
    v = ctl_verb_nearest(words, n);
    return ctl_usage(c, "there is no verb \"%s\"%s%s%s", words[0], v != NULL ? "; did you mean tidectl " : "",
                     v != NULL ? v->words : "", v != NULL ? "?" : "");
}
