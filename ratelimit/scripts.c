/* GCRA (gcra.h) in Lua. Rules that keep it exact:
 * - numbers are doubles: everything stays in whole microseconds below 2^53, products are made in C;
 * - tostring() and .. would print 14 digits: numbers go to redis.call as numbers, which prints 17;
 * - first decide about all keys, then write: scripts are not rolled back, so nothing may fail between writes;
 * - what is stored may be wrong (a clock stepped, a limit was lowered, somebody wrote "nan"): `not (t >= now)`
 *   and the clamp to now + cap heal it. */
#include "ratelimit/scripts.h"

#include "ratelimit/caps.h"

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

/* Arguments: enforced, our field, then inc, tau, cap, lease for each key. cap 0: the key counts what runs at once, a
 * hash of one field a loop of a gateway, "count stamp"; tau is the limit, lease the life of a field in ms. Otherwise
 * lease is an increment that is taken as well when there is room for both. Answer: as take (of a counting key, what
 * would run with this one), then for each key whether the lease was taken. */
struct redis_script limit_script_reserve = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000000 + time[2]\n"
                       "local enforced, me, n = tonumber(ARGV[1]), ARGV[2], #KEYS\n"
                       "local stored = redis.call('MGET', unpack(KEYS))\n"
                       "local answer, t_new, mine, stale = {1}, {}, {}, {}\n"
                       "local function count(i, life)\n"
                       "  local others, own, old = 0, 0, {}\n"
                       "  local fields = redis.call('HGETALL', KEYS[i])\n"
                       "  for j = 1, #fields, 2 do\n"
                       "    local c, at = string.match(fields[j + 1], '^(%d+) (%d+)$')\n"
                       "    local lives = c and tonumber(at) + life * 1000 > now\n"
                       "    if fields[j] == me then\n"
                       "      own = lives and tonumber(c) or 0\n"
                       "    elseif lives then\n"
                       "      others = others + tonumber(c)\n"
                       "    else\n"
                       "      old[#old + 1] = fields[j]\n"
                       "    end\n"
                       "  end\n"
                       "  stale[i] = old\n"
                       "  return others + own + 1, own + 1\n"
                       "end\n"
                       "for i = 1, n do\n"
                       "  local a = 4 * i - 1\n"
                       "  local inc, tau = tonumber(ARGV[a]), tonumber(ARGV[a + 1])\n"
                       "  local cap, lease = tonumber(ARGV[a + 2]), tonumber(ARGV[a + 3])\n"
                       "  local distance, own\n"
                       "  answer[n + 1 + i] = 0\n"
                       "  if cap == 0 then\n"
                       "    distance, own = count(i, lease)\n"
                       "    if distance <= tau then mine[i] = own end\n"
                       "  else\n"
                       "    local t = tonumber(stored[i])\n"
                       "    if not t or not (t >= now) then t = now end\n"
                       "    if t > now + cap then t = now + cap end\n"
                       "    distance = t + inc - now\n"
                       "    if distance <= tau then\n"
                       "      if lease > 0 and distance + lease <= tau then\n"
                       "        distance = distance + lease\n"
                       "        answer[n + 1 + i] = 1\n"
                       "      end\n"
                       "      t_new[i] = now + distance\n"
                       "    end\n"
                       "  end\n"
                       "  answer[i + 1] = distance\n"
                       "  if distance > tau and i <= enforced then answer[1] = 0 end\n"
                       "end\n"
                       "if answer[1] == 1 then\n"
                       "  for i = 1, n do\n"
                       "    if mine[i] then\n"
                       "      redis.call('HSET', KEYS[i], me, string.format('%d %.0f', mine[i], now))\n"
                       "      if stale[i][1] then redis.call('HDEL', KEYS[i], unpack(stale[i])) end\n"
                       "      redis.call('PEXPIRE', KEYS[i], ARGV[4 * i + 2])\n"
                       "    elseif t_new[i] and t_new[i] > now then\n"
                       "      redis.call('PSETEX', KEYS[i], math.ceil((t_new[i] - now) / 1000), t_new[i])\n"
                       "    end\n"
                       "  end\n"
                       "end\n"
                       "return answer\n"),
};

/* Our field of a key that counts what runs at once: "-" takes one away, a number is the truth. */
struct redis_script limit_script_hold = {
    .source = STR_INIT("local time = redis.call('TIME')\n"
                       "local now = time[1] * 1000000 + time[2]\n"
                       "local n = tonumber(ARGV[3])\n"
                       "if not n then\n"
                       "  local stored = redis.call('HGET', KEYS[1], ARGV[1])\n"
                       "  n = (stored and tonumber(string.match(stored, '^%d+')) or 1) - 1\n"
                       "end\n"
                       "if n > 0 then\n"
                       "  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', n, now))\n"
                       "  redis.call('PEXPIRE', KEYS[1], ARGV[2])\n"
                       "else\n"
                       "  redis.call('HDEL', KEYS[1], ARGV[1])\n"
                       "end\n"
                       "return n\n"),
};

struct redis_script limit_script_peek = {
    .source =
        STR_INIT("local time = redis.call('TIME')\n"
                 "local now = time[1] * 1000000 + time[2]\n"
                 "local bound = tonumber(ARGV[2])\n"
                 "if ARGV[1] == 'used' then\n"
                 "  local t = tonumber(redis.call('GET', KEYS[1]))\n"
                 "  if not t or not (t >= now) then return 0 end\n"
                 "  return math.min(t - now, bound)\n"
                 "end\n"
                 "local running = 0\n"
                 "for _, field in ipairs(redis.call('HVALS', KEYS[1])) do\n"
                 "  local c, at = string.match(field, '^(%d+) (%d+)$')\n"
                 "  if c and tonumber(at) + bound * 1000 > now then running = running + tonumber(c) end\n"
                 "end\n"
                 "return running\n"),
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
    redis_script_init(&limit_script_reserve);
    redis_script_init(&limit_script_hold);
    redis_script_init(&limit_script_peek);
    redis_script_init(&limit_script_settle);
    redis_script_init(&limit_script_beat);
    redis_script_init(&caps_script);
}
