/* The command line of tide-worker: what to serve, where, and how much of the machine to use.
 *
 * Ownership: texts are borrowed from argv.
 * Errors: ERR_INVALID names the option.
 * Thread rule: read-only after options_parse. */
#ifndef TIDE_WORKER_OPTIONS_H
#define TIDE_WORKER_OPTIONS_H

#include <stdio.h>

#include "base/addr.h"
#include "base/log.h"
#include "inference/worker/device.h"

enum options_command {
    OPTIONS_SERVE = 0,
    OPTIONS_LOGITS = 1, /* diagnostic: best tokens at each position */
    OPTIONS_TENSOR = 2, /* diagnostic: one tensor as float32 */
    OPTIONS_HELP = 3,
    OPTIONS_VERSION = 4,
    OPTIONS_BENCH = 5,      /* tokens a second */
    OPTIONS_INSPECT = 6,    /* what a file holds and would cost */
    OPTIONS_CHAT = 7,       /* a talk in the terminal */
    OPTIONS_TOKENS = 8,     /* diagnostic: texts and conversations as token ids */
    OPTIONS_PERPLEXITY = 9, /* how well a text is predicted */
};

struct options {
    enum options_command command;
    const char *model;         /* GGUF file */
    const char *alias;         /* model id that clients use; NULL: from the file */
    const char *api_key_file;  /* NULL: none asked for */
    const char *packed_dir;    /* folder of the file of packed weights, or "none"; NULL: the model's */
    const char *tokens;        /* of `logits`: file of token ids */
    const char *tensor;        /* of `tensor`: its name */
    const char *text;          /* of `perplexity`: a file */
    struct endpoint listen;    /* 127.0.0.1:8081 */
    uint32_t slots;            /* answers made at once; 8 */
    uint32_t context;          /* positions of one; 0: the model's, at most 4096 */
    uint32_t kv_tokens;        /* of all, kept prefixes too; 0: slots * context */
    uint32_t threads;          /* of computation; 0: cpu/cores.h */
    uint32_t step_tokens;      /* most tokens of one step; 64 */
    uint32_t queue;            /* requests that may wait; 64 */
    uint32_t body_bytes;       /* largest request; 4 MiB */
    uint32_t text_bytes;       /* most text of a request that becomes tokens; 1 MiB */
    uint32_t request_ms;       /* one answer may take; 10 min */
    uint32_t drain_ms;         /* for running answers after SIGTERM; 30 s */
    uint32_t rounds;           /* of `bench`; 5 */
    uint32_t top;              /* of `logits`: tokens a position; 10 */
    bool portable;             /* plain C kernels; on a device no CUDA graphs */
    bool no_amx;               /* AVX-512 where the processor has AMX too */
    struct device_wish device; /* auto; what is linked is main.c's to say */
    enum log_level log_level;
};

int options_parse(int argc, char **argv, struct options *out, struct err *err) TIDE_CHECK;
void options_usage(FILE *out);

#endif
