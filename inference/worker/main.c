/* tide-worker: serves one GGUF model behind the OpenAI dialect. */
#include <stdio.h>

#include "inference/worker/diagnose.h"

static int report(int rc, const struct err *err)
{
    if (rc) {
        fprintf(stderr, "tide-worker: %s\n", err->msg);
    }
    return rc ? 1 : 0;
}

int main(int argc, char **argv)
{
    struct options options;
    struct err err = {0};
    if (options_parse(argc, argv, &options, &err)) {
        fprintf(stderr, "tide-worker: %s\nTry tide-worker --help.\n", err.msg);
        return 2;
    }
    log_set_level(options.log_level);
    switch (options.command) {
    case OPTIONS_HELP:
        options_usage(stdout);
        return 0;
    case OPTIONS_VERSION:
        puts("tide-worker " TIDE_VERSION);
        return 0;
    case OPTIONS_LOGITS:
        return report(diagnose_logits(&options, &err), &err);
    case OPTIONS_TENSOR:
        return report(diagnose_tensor(&options, &err), &err);
    case OPTIONS_SERVE:
        break;
    }
    return 2;
}
