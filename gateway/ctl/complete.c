/* What may come next after half-typed words: a line a candidate, "word<TAB>what it is"; ":file" wants the names of
 * files. Asked by the shells' scripts (verbs_self.c), so that each of them is a few lines. */
#include <stdio.h>

#include "gateway/ctl/verbs.h"

enum { NAMES_TIMEOUT_MS = 2000, OFFERED_MAX = 65536 };

struct typed {
    const char *words[CTL_WORDS_MAX]; /* of verb and arguments, before the last */
    int n;
    const struct ctl_option *open; /* an option that waits for its value */
};

static void offer_list(const char *list, const char *what)
{
    struct str rest = str_from(list);
    struct str word;
    while (ctl_next_word(&rest, &word)) {
        printf(STR_FMT "\t%s\n", STR_ARG(word), what);
    }
}

static void offer_value(const struct ctl_option *o)
{
    if (o->type == CTL_CHOICE) {
        offer_list(o->value, o->help);
    } else if (o->type == CTL_FILE) {
        printf(":file\n");
    }
}

static void offer_options(const struct ctl_verb *v)
{
    for (const struct ctl_option *o = ctl_options; o->name != NULL; o++) {
        bool is_wanted = false;
        if (v != NULL ? ctl_verb_takes(v, o, &is_wanted) : o->is_everywhere) {
            printf("--%s\t%s\n", o->name, o->help);
        }
    }
}

/* The next word of a verb that begins with these, each word once. */
struct next {
    const struct typed *typed;
    struct buf offered; /* words, by spaces */
};

static bool offer_word(void *arg, const struct ctl_verb *v)
{
    struct next *x = arg;
    struct str own = str_from(v->words);
    struct str word = STR("");
    bool has_next = ctl_verb_begins(v, x->typed->words, x->typed->n);
    for (int i = 0; has_next && i <= x->typed->n; i++) {
        has_next = ctl_next_word(&own, &word);
    }
    struct str earlier = buf_str(&x->offered);
    struct str other;
    while (has_next && ctl_next_word(&earlier, &other)) {
        has_next = !str_eq(word, other);
    }
    if (has_next) {
        printf(STR_FMT "\t%s\n", STR_ARG(word), v->summary);
        buf_addf(&x->offered, STR_FMT " ", STR_ARG(word));
    }
    return true;
}

/* What the arguments of a verb may be; its gateway is asked quietly, and briefly. */
static void offer_arguments(struct ctl *c, const struct ctl_verb *v, int given)
{
    struct str args = str_from(v->args);
    struct str word = STR("");
    for (int i = 0; i <= given; i++) {
        if (!ctl_next_word(&args, &word)) {
            return;
        }
    }
    if (given == 0 && v->names != NULL) {
        c->verb = v;
        c->form = CTL_BARE;
        c->timeout_ms = NAMES_TIMEOUT_MS;
        if (freopen("/dev/null", "w", stderr) != NULL) {
            (void)v->names(c);
        }
    } else if (memmem(word.p, word.n, "FILE", 4) != NULL || memmem(word.p, word.n, "FOLDER", 6) != NULL) {
        printf(":file\n");
    }
}

/* What stands before the last word. Bash cuts "--output=json" in three. */
static void read_typed(struct typed *t, const char *const *words, int n)
{
    for (int i = 0; i < n && t->n < CTL_WORDS_MAX; i++) {
        if (t->open != NULL && strcmp(words[i], "=") == 0) {
            continue;
        }
        if (t->open != NULL) {
            t->open = NULL;
        } else if (words[i][0] == '-' && words[i][1] != '\0') {
            const struct ctl_option *o = words[i][1] == '-' ? ctl_option_find(str_from(words[i] + 2))
                                                            : ctl_option_by_letter(words[i][1]);
            t->open = o != NULL && o->type != CTL_SWITCH ? o : NULL;
        } else {
            t->words[t->n++] = words[i];
        }
    }
}

int ctl_complete(struct ctl *c, const char *const *words, int n)
{
    struct typed t = {.n = 0};
    struct next next = {.typed = &t};
    const char *last = n > 0 ? words[n - 1] : "";
    int used = 0;
    read_typed(&t, words, n - 1);
    const struct ctl_verb *v = ctl_verb_find(t.words, t.n, &used);
    if (t.open != NULL) {
        offer_value(t.open);
    } else if (last[0] == '-') {
        offer_options(v);
    } else {
        buf_init(&next.offered, OFFERED_MAX);
        ctl_verbs_walk(offer_word, &next);
        buf_clear(&next.offered);
        if (v != NULL) {
            offer_arguments(c, v, t.n - used);
        }
    }
    return CTL_OK;
}
