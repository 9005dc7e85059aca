/* The quota of a cgroup, of both versions, as containers, services and plain machines have them. */
#include "tests/unit/temp.h"

#include "inference/worker/cpu/cores.h"

/* A folder of the tree under the temporary one. */
static void make(const char *folder)
{
    assert_int_equal(mkdir(temp_path(folder), 0700), 0);
}

static void put(const char *name, const char *text)
{
    FILE *f = fopen(temp_path(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static unsigned quota(const char *groups)
{
    put("groups", groups);
    return cores_quota(temp_path("groups"), temp_folder);
}

static void drop(const char *const *names)
{
    for (; *names; names++) {
        assert_int_equal(remove(temp_path(*names)), 0);
    }
}
#define DROP(...) drop((const char *const[]){__VA_ARGS__, NULL})

static void no_quota(void **state)
{
    assert_int_equal(cores_quota(temp_path("none"), temp_folder), 0);
    assert_int_equal(quota(""), 0);
    assert_int_equal(quota("0::/\n"), 0);
    put("cpu.max", "max 100000\n");
    assert_int_equal(quota("0::/\n"), 0);
    assert_int_equal(quota("nothing\n0:/\n\n"), 0);
    put("cpu.max", "");
    assert_int_equal(quota("0::/\n"), 0);
    put("cpu.max", "400000 0\n");
    assert_int_equal(quota("0::/\n"), 0);
    put("cpu.max", "99999999999 100000\n"); /* more than there are cores */
    assert_int_equal(quota("0::/\n"), 0);
}

/* A container sees its own group as the root; or has the root's path of outside. */
static void version_2(void **state)
{
    put("cpu.max", "400000 100000\n");
    assert_int_equal(quota("0::/\n"), 4);
    assert_int_equal(quota("0::/docker/0123\n"), 4);
    put("cpu.max", "150000 100000\n");
    assert_int_equal(quota("0::/\n"), 2);
    put("cpu.max", "1000 100000\n");
    assert_int_equal(quota("0::/\n"), 1);
    put("cpu.max", "max 100000\n");
    make("system.slice");
    make("system.slice/worker.service");
    put("system.slice/worker.service/cpu.max", "300000 100000\n");
    assert_int_equal(quota("0::/system.slice/worker.service\n"), 3);
    put("system.slice/cpu.max", "200000 100000\n"); /* all of them together */
    assert_int_equal(quota("0::/system.slice/worker.service\n"), 2);
    assert_int_equal(quota("0::/system.slice/other.service\n"), 2);
    DROP("system.slice/worker.service/cpu.max", "system.slice/cpu.max", "system.slice/worker.service",
         "system.slice", "cpu.max");
}

static void version_1(void **state)
{
    make("cpu");
    put("cpu/cpu.cfs_quota_us", "-1\n");
    put("cpu/cpu.cfs_period_us", "100000\n");
    assert_int_equal(quota("3:cpuset:/\n1:cpu,cpuacct:/\n0::/\n"), 0);
    put("cpu/cpu.cfs_quota_us", "250000\n");
    assert_int_equal(quota("3:cpuset:/\n1:cpu,cpuacct:/docker/0123\n0::/\n"), 3);
    assert_int_equal(quota("3:cpuset:/\n1:cpuacct:/\n0::/\n"), 0);
    DROP("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us", "cpu");
}

static void usable(void **state)
{
    unsigned cores = cores_usable();
    assert_true(cores >= 1 && cores <= (unsigned)sysconf(_SC_NPROCESSORS_CONF));
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_quota),
        cmocka_unit_test(version_2),
        cmocka_unit_test(version_1),
        cmocka_unit_test(usable),
    };
    return cmocka_run_group_tests(tests, temp_make, temp_remove);
}
