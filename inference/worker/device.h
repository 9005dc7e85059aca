/* Which machine computes: the CPU, or a CUDA device through the backend that the program is linked with (main.c).
 *
 * DEVICE_AUTO takes a device that is there and can serve the model; else the CPU, and one line of the log has the device's
 * words. DEVICE_CUDA takes the device or fails. Once open, nothing falls back: a device that fails ends the worker.
 * Several devices share a model (tensor parallel) only where that is asked for, and then nothing falls back to the CPU.
 * Ownership: device_close frees the backend; graph and model are borrowed until then.
 * Errors: those of backend.h; ERR_INVALID where the program has no CUDA backend and none but that will do.
 * Thread rule: as backend.h. */
#ifndef TIDE_WORKER_DEVICE_H
#define TIDE_WORKER_DEVICE_H

#include "inference/worker/backend.h"

enum device_choice {
    DEVICE_AUTO = 0,
    DEVICE_CPU = 1,
    DEVICE_CUDA = 2,
};

struct device_wish {
    enum device_choice choice;
    const struct backend_kind *cuda; /* what the program is linked with; NULL: nothing */
    uint32_t ranks;                  /* devices that share the model; 0 and 1: one */
    uint32_t collective_ms;          /* that they may take to meet, and for one step; 0: any time */
};

struct device {
    const struct backend_kind *kind; /* NULL: not open */
    struct backend *backend;
};

int device_open(const struct device_wish *wish, const struct graph *g, const struct backend_conf *conf,
                struct device *out, struct err *err) TIDE_CHECK;
int device_run(struct device *d, const struct batch *batch, float **logits, struct err *err) TIDE_CHECK;
/* As backend.h says. */
bool device_candidates(const struct device *d, uint32_t row, struct candidates *out);
void device_describe(const struct device *d, char *out, size_t n);
void device_close(struct device *d); /* nothing happens where it is not open */

#endif
