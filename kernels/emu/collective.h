/* Collectives of several emulated devices: what each rank asked for, whether all ask for the same, and the work once all
 * have come. A collective stands in a stream like a launch; its stream waits until every rank's has reached it.
 *
 * Ownership: operations and communicators share the clique.
 * Thread rule: under the emulator's lock. */
#ifndef TIDE_EMU_COLLECTIVE_H
#define TIDE_EMU_COLLECTIVE_H

#include <memory>
#include <vector>

#include <nccl.h>

enum collective_kind {
    COLLECTIVE_ALL_REDUCE = 0,
    COLLECTIVE_ALL_GATHER = 1,
    COLLECTIVE_BROADCAST = 2,
};

struct collective;

struct member { /* one rank */
    bool has_come;
    bool is_aborted; /* what it waits for is over, without a result */
    bool is_done;    /* the collective that its stream stands at was worked */
    int device;
    cudaStream_t stream;                                          /* of its collectives; NULL: none yet */
    std::shared_ptr<const struct collective> waiting;             /* that its stream stands at; empty: none */
    ncclResult_t error;                                           /* as ncclCommGetAsyncError says */
    std::vector<std::weak_ptr<const struct collective>> recorded; /* by graphs */
};

struct clique {
    std::vector<struct member> members; /* by rank */
};

struct collective {
    std::shared_ptr<struct clique> clique;
    int rank;
    enum collective_kind kind;
    const void *send;
    void *receive;
    size_t count; /* values that a rank sends */
    ncclDataType_t type;
    ncclRedOp_t op; /* of all-reduce */
    int root;       /* of broadcast */
};

size_t collective_value_bytes(ncclDataType_t type); /* 0: no such type */
/* The stream stands at it. true: it is over, the stream goes on. Ranks that do not agree are a fault. */
bool collective_step(const std::shared_ptr<const struct collective> &c);
/* For whom it waits, as text. */
void collective_explain(const struct collective *c, char *out, size_t n);

#endif
