/* GCRA (gcra.h) in Lua. Rules that keep it exact:
 * - numbers are doubles: everything stays in whole microseconds below 2^53, products are made in C;
 * - tostring() and .. would print 14 digits: numbers go to redis.call as numbers, which prints 17;
 * - first decide about all keys, then write: scripts are not rolled back, so nothing may fail between writes;
 * - what is stored may be wrong (a clock stepped, a limit was lowered, somebody wrote "nan"): `not (t >= now)`
 *   and the clamp to now + cap heal it. */
#include "ratelimit/scripts.h"

struct redis_script limit_script_take = {
    .source =
        STR_INIT("local time = redis.call('TIME')\n"
                 "local now = time[1] * 1000000 + time[2]\n"
                 "local enforced = tonumber(ARGV[1])\n"
                 "local stored = redis.call('MGET', unpack(KEYS))\n"
                 "local answer = {1}\n"
                 "local t_new = {}\n"
                 "for i = 1, #KEYS do\n"
                 "  local a = 3 * i\n"
                 "  local inc, tau, cap = tonumber(ARGV[a - 1]), tonumber(ARGV[a]), tonumber(ARGV[a + 1])\n"
                 "  local t = tonumber(stored[i])\n"
                 "  if not t or not (t >= now) then t = now end\n"
                 "  if t > now + cap then t = now + cap end\n"
                 "  local distance = t + inc - now\n"
                 "  answer[i + 1] = distance\n"
                 "  if distance <= tau then\n"
                 "    t_new[i] = t + inc\n"
                 "  elseif i <= enforced then\n"
                 "    answer[1] = 0\n"
                 "  end\n"
                 "end\n"
                 "if answer[1] == 1 then\n"
                 "  for i = 1, #KEYS do\n"
                 "    if t_new[i] and t_new[i] > now then\n"
                 "      redis.call('PSETEX', KEYS[i], math.ceil((t_new[i] - now) / 1000), t_new[i])\n"
                 "    end\n"
                 "  end\n"
                 "end\n"
                 "return answer\n"),
};

struct redis_script limit_script_settle = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000000 + time[2]\n"
                       "for i = 1, #KEYS do\n"
                       "  local inc, cap = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])\n"
                       "  local t = tonumber(redis.call('GET', KEYS[i]))\n"
                       "  if not t or not (t >= now) then t = now end\n"
                       "  t = math.min(t + inc, now + cap)\n"
                       "  if t > now then\n"
                       "    redis.call('PSETEX', KEYS[i], math.ceil((t - now) / 1000), t)\n"
                       "  else\n"
                       "    redis.call('DEL', KEYS[i])\n"
                       "  end\n"
                       "end\n"
                       "return 1\n"),
};

struct redis_script limit_script_beat = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000 + math.floor(time[2] / 1000)\n"
                       "redis.call('HSET', KEYS[1], ARGV[1], now)\n"
                       "redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                       "local all = redis.call('HGETALL', KEYS[1])\n"
                       "local living = 0\n"
                       "for i = 1, #all, 2 do\n"
                       "  if tonumber(all[i + 1]) + tonumber(ARGV[2]) > now then\n"
                       "    living = living + 1\n"
                       "  else\n"
                       "    redis.call('HDEL', KEYS[1], all[i])\n"
                       "  end\n"
                       "end\n"
                       "return living\n"),
};

void limit_scripts_init(void)
{
    redis_script_init(&limit_script_take);
    redis_script_init(&limit_script_settle);
    redis_script_init(&limit_script_beat);
}
