/* device_present [LEAST]: names the first CUDA device and what it can compute; exit status 77 where there is none that
 * this build can use, or only an older one than LEAST (89: compute capability 8.9). */
#include <stdio.h>
#include <stdlib.h>

#include <cuda_runtime.h>

enum { SKIPPED = 77 };

int main(int argc, char **argv)
{
    struct cudaDeviceProp device;
    int devices = 0;
    int least = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 0;
    cudaError_t rc = cudaGetDeviceCount(&devices);
    if (rc == cudaSuccess && devices > 0) {
        rc = cudaGetDeviceProperties(&device, 0);
    }
    if (rc != cudaSuccess || devices == 0) {
        printf("skipped: no device (%s)\n", rc == cudaSuccess ? "none is listed" : cudaGetErrorString(rc));
        return SKIPPED;
    }
    int capability = 10 * device.major + device.minor;
    if (capability < least) {
        printf("skipped: %s computes sm_%d, sm_%d is wanted\n", device.name, capability, least);
        return SKIPPED;
    }
    printf("device: %s\nsm: %d\n", device.name, capability);
    return 0;
}
