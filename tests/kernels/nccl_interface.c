/* What of NCCL this project uses, with the numbers and signatures that the stand-in (kernels/emu/include/nccl.h) and the
 * real header must share: compiled against the one with the tests and, where it is installed, against the other by
 * tests/kernels/compiled. */
#include <nccl.h>

_Static_assert(sizeof(ncclUniqueId) == 128 && NCCL_UNIQUE_ID_BYTES == 128, "size of an id");
_Static_assert(ncclSuccess == 0 && ncclUnhandledCudaError == 1 && ncclSystemError == 2 &&
                   ncclInternalError == 3 && ncclInvalidArgument == 4 && ncclInvalidUsage == 5 &&
                   ncclRemoteError == 6 && ncclInProgress == 7,
               "results");
_Static_assert(ncclSum == 0 && ncclProd == 1 && ncclMax == 2 && ncclMin == 3 && ncclAvg == 4, "operations");
_Static_assert(ncclInt8 == 0 && ncclUint8 == 1 && ncclInt32 == 2 && ncclUint32 == 3 && ncclInt64 == 4 &&
                   ncclUint64 == 5 && ncclFloat16 == 6 && ncclFloat32 == 7 && ncclFloat64 == 8 &&
                   ncclBfloat16 == 9,
               "types");
_Static_assert(offsetof(ncclConfig_t, blocking) == sizeof(size_t) + 2 * sizeof(unsigned), "configuration");

struct nccl_interface {
    ncclResult_t (*get_version)(int *);
    ncclResult_t (*get_unique_id)(ncclUniqueId *);
    const char *(*get_error_string)(ncclResult_t);
    const char *(*get_last_error)(ncclComm_t);
    ncclResult_t (*init_rank)(ncclComm_t *, int, ncclUniqueId, int);
    ncclResult_t (*init_rank_config)(ncclComm_t *, int, ncclUniqueId, int, ncclConfig_t *);
    ncclResult_t (*get_async_error)(ncclComm_t, ncclResult_t *);
    ncclResult_t (*abort)(ncclComm_t);
    ncclResult_t (*destroy)(ncclComm_t);
    ncclResult_t (*all_reduce)(const void *, void *, size_t, ncclDataType_t, ncclRedOp_t, ncclComm_t,
                               cudaStream_t);
    ncclResult_t (*all_gather)(const void *, void *, size_t, ncclDataType_t, ncclComm_t, cudaStream_t);
    ncclResult_t (*broadcast)(const void *, void *, size_t, ncclDataType_t, int, ncclComm_t, cudaStream_t);
    ncclResult_t (*group_start)(void);
    ncclResult_t (*group_end)(void);
};
extern const struct nccl_interface nccl_interface;

const struct nccl_interface nccl_interface = {
    ncclGetVersion,         ncclGetUniqueId,       ncclGetErrorString, ncclGetLastError, ncclCommInitRank,
    ncclCommInitRankConfig, ncclCommGetAsyncError, ncclCommAbort,      ncclCommDestroy,  ncclAllReduce,
    ncclAllGather,          ncclBroadcast,         ncclGroupStart,     ncclGroupEnd,
};
