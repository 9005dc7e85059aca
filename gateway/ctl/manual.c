/* Manual pages in roff's man macros, made of the same tables as --help. */
#include "gateway/ctl/verbs.h"

/* Text with what roff would take for its own escaped. */
static void put_text(FILE *out, struct str text)
{
    if (text.n > 0 && (text.p[0] == '.' || text.p[0] == '\'')) {
        fputs("\\&", out);
    }
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '\\') {
            fputs("\\e", out);
        } else if (text.p[i] == '-') {
            fputs("\\-", out);
        } else {
            fputc(text.p[i], out);
        }
    }
}

static void put_line(FILE *out, const char *text)
{
    put_text(out, str_from(text));
    fputc('\n', out);
}

static void put_head(FILE *out, const char *page)
{
    fprintf(out, ".TH TIDECTL%s%s 1 \"\" \"tidectl %s\" \"Tidegate\"\n", page != NULL ? "-" : "",
            page != NULL ? page : "", TIDE_VERSION);
}

static void put_paragraphs(FILE *out, const char *text)
{
    struct str rest = str_from(text);
    struct str line;
    while (str_cut(&rest, '\n', &line)) {
        if (line.n == 0) {
            fputs(".PP\n", out);
        } else {
            put_text(out, line);
            fputc('\n', out);
        }
    }
}

static void put_examples(FILE *out, const char *text)
{
    struct str rest = str_from(text);
    struct str line;
    fputs(".PP\n.nf\n", out);
    while (str_cut(&rest, '\n', &line)) {
        fputs(line.p[0] == ' ' ? "        " : "tidectl ", out);
        put_text(out, line);
        fputc('\n', out);
    }
    fputs(".fi\n", out);
}

static void put_option(FILE *out, const struct ctl_option *o, bool is_wanted)
{
    fputs(".TP\n", out);
    if (o->letter != '\0') {
        fprintf(out, "\\fB\\-%c\\fR, ", o->letter);
    }
    fputs("\\fB\\-\\-", out);
    put_text(out, str_from(o->name));
    fputs("\\fR", out);
    if (o->value != NULL) {
        fprintf(out, " \\fI%s\\fR", o->type == CTL_CHOICE ? "FORM" : o->value);
    }
    fputc('\n', out);
    put_text(out, str_from(o->help));
    if (o->type == CTL_CHOICE) {
        fprintf(out, ": %s", o->value);
    }
    fputs(is_wanted ? " (has to be given)\n" : "\n", out);
}

static void put_verb(FILE *out, const struct ctl_verb *v)
{
    fprintf(out, ".SS \"%s%s%s\"\n", v->words, v->args != NULL ? " " : "", v->args != NULL ? v->args : "");
    put_line(out, v->summary);
    if (v->about != NULL) {
        fputs(".PP\n", out);
        put_paragraphs(out, v->about);
    }
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        bool is_wanted = false;
        if (ctl_verb_takes(v, o, &is_wanted) && !o->is_everywhere) {
            put_option(out, o, is_wanted);
        }
    }
    if (v->exits != NULL) {
        fputs(".PP\nExit ", out);
        put_line(out, v->exits);
    }
    if (v->examples != NULL) {
        put_examples(out, v->examples);
    }
}

static void put_common(FILE *out)
{
    fputs(".SH OPTIONS\nOf every verb:\n", out);
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        if (o->is_everywhere) {
            put_option(out, o, false);
        }
    }
    fputs(".SH ENVIRONMENT\n", out);
    struct str rest = str_from(ctl_environment);
    struct str line;
    while (str_cut(&rest, '\n', &line)) {
        struct str name;
        (void)str_cut(&line, ' ', &name);
        fprintf(out, ".TP\n\\fB" STR_FMT "\\fR\n", STR_ARG(name));
        put_text(out, str_trim(line));
        fputc('\n', out);
    }
    fputs(".SH \"EXIT STATUS\"\n", out);
    for (const struct ctl_exit_row *e = ctl_exit_rows; e->text != NULL; e++) {
        fprintf(out, ".TP\n%d\n", e->code);
        put_line(out, e->text);
    }
}

static void put_all(FILE *out)
{
    put_head(out, NULL);
    fputs(".SH NAME\ntidectl \\- the operator's command line of Tidegate\n"
          ".SH SYNOPSIS\n\\fBtidectl\\fR \\fIVERB\\fR [\\fIARGUMENTS\\fR] [\\fIOPTIONS\\fR]\n"
          ".SH \"WE ARE UNDER ATTACK\"\n",
          out);
    put_examples(out, ctl_help_attack);
    fputs(".SH VERBS\n", out);
    for (const struct ctl_group *g = ctl_groups; g->title != NULL; g++) {
        for (const struct ctl_verb *v = g->verbs; v->words != NULL; v++) {
            put_verb(out, v);
        }
    }
    put_common(out);
}

struct page {
    FILE *out;
    const char *name;
    bool found;
};

static bool put_if_of_page(void *arg, const struct ctl_verb *v)
{
    struct page *p = arg;
    if (!ctl_verb_begins(v, &p->name, 1)) {
        return true;
    }
    if (!p->found) {
        put_head(p->out, p->name);
        fprintf(p->out, ".SH NAME\ntidectl\\-%s \\- %s\n.SH VERBS\n", p->name, v->summary);
    }
    p->found = true;
    put_verb(p->out, v);
    return true;
}

bool ctl_manual(FILE *out, const char *page)
{
    struct page p = {.out = out, .name = page};
    if (page == NULL) {
        put_all(out);
        return true;
    }
    ctl_verbs_walk(put_if_of_page, &p);
    if (p.found) {
        put_common(out);
        fputs(".SH \"SEE ALSO\"\ntidectl(1)\n", out);
    }
    return p.found;
}
