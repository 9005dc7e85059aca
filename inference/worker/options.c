#include "inference/worker/options.h"

#include <getopt.h>

enum option_kind { TEXT, NUMBER, SIZE, DURATION, FLAG, LISTEN, WORD };

struct option_row {
    const char *name;
    enum option_kind kind;
    size_t offset; /* in struct options */
    uint32_t min;
    uint32_t max;
    const char *value; /* what the help calls it; of WORD: its words, in the order of the enum */
    const char *help;
};

#define AT(field) offsetof(struct options, field)
static const struct option_row rows[] = {
    {"model", TEXT, AT(model), 0, 0, "MODEL", "a GGUF file, or a folder of safetensors (required)"},
    {"listen", LISTEN, AT(listen), 0, 0, "HOST:PORT|unix:PATH", "where to serve; 127.0.0.1:8081"},
    {"alias", TEXT, AT(alias), 0, 0, "NAME", "model id for clients; the file's name without .gguf"},
    {"api-key-file", TEXT, AT(api_key_file), 0, 0, "FILE",
     "ask clients for this key (needed off loopback and unix sockets)"},
    {"slots", NUMBER, AT(slots), 1, 1024, "N", "answers made at once; 8"},
    {"context", NUMBER, AT(context), 16, 1 << 24, "N",
     "tokens of prompt and answer; the model's, at most 4096"},
    {"kv-tokens", NUMBER, AT(kv_tokens), 16, UINT32_MAX, "N",
     "tokens of the KV cache, prefixes kept for later too; slots times context"},
    {"device", WORD, AT(device.choice), 0, 0, "auto|cpu|cuda",
     "what computes; auto: a CUDA device if one can be used, else the CPU"},
    {"tensor-parallel-size", NUMBER, AT(device.ranks), 1, 8, "N",
     "CUDA devices that share the model, the first N; 1"},
    {"collective-timeout", DURATION, AT(device.collective_ms), 100, 3600000, "TIME",
     "time that they may wait for each other before the worker ends; 60s"},
    {"threads", NUMBER, AT(threads), 1, 256, "N",
     "threads of computation; one a core that the process or its cgroup may use"},
    {"step-tokens", NUMBER, AT(step_tokens), 1, 8192, "N", "most tokens computed in one step; 64"},
    {"queue", NUMBER, AT(queue), 1, 100000, "N", "requests that may wait for a slot; 64"},
    {"body-limit", SIZE, AT(body_bytes), 1024, 1 << 30, "SIZE", "largest request body; 4MiB"},
    {"text-limit", SIZE, AT(text_bytes), 1024, 1 << 30, "SIZE",
     "most text of a request that becomes tokens; 1MiB"},
    {"request-timeout", DURATION, AT(request_ms), 1, 86400000, "TIME", "time that one answer may take; 9m"},
    {"drain", DURATION, AT(drain_ms), 0, 3600000, "TIME", "time for running answers after SIGTERM; 30s"},
    {"packed-dir", TEXT, AT(packed_dir), 0, 0, "DIR|none",
     "where MODEL.tide-packed keeps what the CPU made of the weights, for all workers to map; beside MODEL"},
    {"portable", FLAG, AT(portable), 0, 0, NULL,
     "plain C kernels, whatever the processor offers; no CUDA graphs"},
    {"no-amx", FLAG, AT(no_amx), 0, 0, NULL, "prompts by AVX-512 where the processor has AMX too"},
    {"log-level", WORD, AT(log_level), 0, 0, "error|warn|info|debug",
     "least important level that is written; info"},
    {"rounds", NUMBER, AT(rounds), 1, 100, "N", "bench: how often each row is measured; 5"},
    {"tokens", TEXT, AT(tokens), 0, 0, "FILE", "logits: a JSON array of token ids"},
    {"top", NUMBER, AT(top), 1, 1000, "N", "logits: tokens listed at each position; 10"},
    {"text", TEXT, AT(text), 0, 0, "FILE", "perplexity: UTF-8, cut into parts of --context tokens; 512"},
    {"name", TEXT, AT(tensor), 0, 0, "NAME", "tensor: which one"},
};
enum { ROWS = sizeof rows / sizeof *rows };

void options_usage(FILE *out)
{
    fputs(
        "usage: tide-worker --model MODEL [option ...]              serve the model\n"
        "       tide-worker chat --model MODEL                      talk in the terminal\n"
        "       tide-worker bench --model MODEL                     tokens a second at several batch sizes\n"
        "       tide-worker perplexity --model MODEL --text FILE    how well a text is predicted\n"
        "       tide-worker inspect MODEL                           what a file holds, what it costs to "
        "serve\n"
        "       tide-worker logits --model MODEL --tokens FILE      diagnostic: best tokens by "
        "position\n"
        "       tide-worker tensor --model MODEL --name NAME        diagnostic: a tensor as "
        "float32\n"
        "       tide-worker tokens --model MODEL                    diagnostic: bodies of /tokenize, one a "
        "line, to ids\n"
        "       tide-worker --help | --version\n\n",
        out);
    for (unsigned i = 0; i < ROWS; i++) {
        char left[64];
        snprintf(left, sizeof left, "--%s %s", rows[i].name, rows[i].value ? rows[i].value : "");
        fprintf(out, "  %-32s %s\n", left, rows[i].help);
    }
}

static int set_number(const struct option_row *row, uint64_t v, uint32_t *out, struct err *err)
{
    if (v < row->min || v > row->max) {
        return err_set(err, ERR_INVALID, "--%s: expected %u to %u", row->name, row->min, row->max);
    }
    *out = (uint32_t)v;
    return 0;
}

static int set_word(const struct option_row *row, const char *text, int *out, struct err *err)
{
    struct str wanted = str_from(text);
    struct str words = str_from(row->value);
    struct str word;
    for (int i = 0; str_cut(&words, '|', &word); i++) {
        if (str_eq(word, wanted)) {
            *out = i;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, "--%s: \"%.40s\" is none of %s", row->name, text, row->value);
}

static int set_option(struct options *o, const struct option_row *row, const char *text, struct err *err)
{
    void *field = (char *)o + row->offset;
    uint64_t v = 0;
    bool ok = true;
    switch (row->kind) {
    case TEXT:
        *(const char **)field = text;
        return 0;
    case FLAG:
        *(bool *)field = true;
        return 0;
    case LISTEN:
        return endpoint_parse(str_from(text), field, err);
    case WORD:
        return set_word(row, text, field, err);
    case NUMBER:
        ok = str_u64(str_from(text), &v);
        break;
    case SIZE:
        ok = str_size_bytes(str_from(text), &v);
        break;
    case DURATION:
        ok = str_duration_ms(str_from(text), &v);
        break;
    }
    if (!ok) {
        return err_set(err, ERR_INVALID, "--%s: \"%.40s\" is not a %s", row->name, text, row->value);
    }
    return set_number(row, v, field, err);
}

static bool take_command(int *argc, char ***argv, struct options *o)
{
    static const struct {
        const char *word;
        enum options_command command;
    } words[] = {{"logits", OPTIONS_LOGITS},    {"tensor", OPTIONS_TENSOR},         {"serve", OPTIONS_SERVE},
                 {"bench", OPTIONS_BENCH},      {"inspect", OPTIONS_INSPECT},       {"chat", OPTIONS_CHAT},
                 {"tokens", OPTIONS_TOKENS},    {"perplexity", OPTIONS_PERPLEXITY}, {"--help", OPTIONS_HELP},
                 {"--version", OPTIONS_VERSION}};
    for (size_t i = 0; *argc > 1 && i < sizeof words / sizeof *words; i++) {
        if (strcmp((*argv)[1], words[i].word) == 0) {
            o->command = words[i].command;
            (*argv)++;
            (*argc)--;
            return true;
        }
    }
    return false;
}

static int read_options(int argc, char **argv, struct options *o, struct err *err)
{
    struct option table[ROWS + 1];
    memset(table, 0, sizeof table);
    for (int i = 0; i < ROWS; i++) {
        table[i] = (struct option){rows[i].name, rows[i].kind != FLAG, NULL, i};
    }
    optind = 1;
    opterr = 0;
    int rc = 0;
    for (;;) {
        int i = getopt_long(argc, argv, "", table, NULL);
        if (i == -1) {
            break;
        }
        if (i == '?') {
            return err_set(err, ERR_INVALID, "%.60s: unknown option, or its value is missing",
                           argv[optind - 1]);
        }
        rc = set_option(o, &rows[i], optarg, err);
        if (rc) {
            return rc;
        }
    }
    if (optind < argc && o->command == OPTIONS_INSPECT && !o->model) {
        o->model = argv[optind++];
    }
    if (optind < argc) {
        return err_set(err, ERR_INVALID, "%.60s: not an option", argv[optind]);
    }
    return 0;
}

static int check(const struct options *o, struct err *err)
{
    if (!o->model) {
        return err_set(err, ERR_INVALID, "--model MODEL is required");
    }
    if (o->command == OPTIONS_SERVE && !endpoint_is_local(&o->listen) && !o->api_key_file) {
        return err_set(err, ERR_INVALID,
                       "--listen %s is not loopback or a unix socket: it needs --api-key-file",
                       o->listen.text);
    }
    if (o->command == OPTIONS_LOGITS && !o->tokens) {
        return err_set(err, ERR_INVALID, "logits needs --tokens FILE");
    }
    if (o->command == OPTIONS_PERPLEXITY && !o->text) {
        return err_set(err, ERR_INVALID, "perplexity needs --text FILE");
    }
    if (o->command == OPTIONS_TENSOR && !o->tensor) {
        return err_set(err, ERR_INVALID, "tensor needs --name NAME");
    }
    return 0;
}

int options_parse(int argc, char **argv, struct options *out, struct err *err)
{
    *out = (struct options){
        .slots = 8,
        .step_tokens = 64,
        .queue = 64,
        .body_bytes = 4 << 20,
        .text_bytes = 1 << 20,
        .request_ms = 540000, /* below a gateway's chat.first_byte, so that it hears why */
        .drain_ms = 30000,
        .rounds = 5,
        .device = {.ranks = 1, .collective_ms = 60000},
        .top = 10,
        .log_level = LOG_LEVEL_INFO,
    };
    int rc = endpoint_parse(STR("127.0.0.1:8081"), &out->listen, err);
    if (rc) {
        return rc;
    }
    take_command(&argc, &argv, out);
    if (out->command == OPTIONS_HELP || out->command == OPTIONS_VERSION) {
        return 0;
    }
    rc = read_options(argc, argv, out, err);
    return rc ? rc : check(out, err);
}
