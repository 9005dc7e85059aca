/* How many threads should compute: the cores that this process may run on, or fewer where its cgroup gets less time than
 * they have. A container that may use 4 of 64 cores' time sees all 64: as many threads would spend it in the first part of
 * each period, waiting for one another, and then stand still together.
 * Errors: what cannot be read limits nothing.
 * Thread rule: any thread. */
#ifndef TIDE_WORKER_CPU_CORES_H
#define TIDE_WORKER_CPU_CORES_H

unsigned cores_usable(void); /* 1 to TEAM_MAX_THREADS */

/* The smallest quota of the process's cgroup and those around it, in whole cores, rounded up; 0: there is none.
 * groups: /proc/self/cgroup; root: /sys/fs/cgroup, of version 2 (cpu.max) or 1 (cpu/cpu.cfs_quota_us). */
unsigned cores_quota(const char *groups, const char *root);

#endif
