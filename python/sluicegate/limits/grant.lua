-- What sluicegate.limits.authority.Authority.answer does, in Redis: report, then grant as much as there is.
--
-- KEYS  1 the limit's account in the present window  2 the leases of that account  3 the account the report is about
-- ARGV  1 holder  2 capacity  3 drawn  4 kept  5 wanted  6 milliseconds a lease lasts  7 milliseconds an account is kept
-- Gives what was granted, what is left beside it, and what the holder has drawn in the present window.
--
-- An account is a hash: `spent` is what all have drawn together, `d:HOLDER` what each has. Leases are a hash of
-- `units:until`, in Redis's own time. Figures stay below 2^53; `%.0f` keeps Lua from writing them as 1e+15.

local most = 9007199254740991
local holder, capacity = ARGV[1], tonumber(ARGV[2])
local drawn, kept, wanted = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local until_ = now + tonumber(ARGV[6])

local function number(value)
    return tonumber(value or 0) or 0
end

local function text(value)
    return string.format('%.0f', value)
end

local function report(account)
    local before = number(redis.call('HGET', account, 'd:' .. holder))
    if drawn ~= before then
        local spent = number(redis.call('HGET', account, 'spent')) + (drawn - before)
        redis.call('HSET', account, 'spent', text(math.min(spent, most)), 'd:' .. holder, text(drawn))
        redis.call('PEXPIRE', account, ARGV[7])
    end
end

local same = KEYS[1] == KEYS[3]
if same then
    report(KEYS[1])
elseif redis.call('EXISTS', KEYS[3]) == 1 then
    report(KEYS[3])
end

local others, own = 0, 0
local leases = redis.call('HGETALL', KEYS[2])
for i = 1, #leases, 2 do
    local units, ends = string.match(leases[i + 1], '^(%d+):(%d+)$')
    if leases[i] == holder and same then
        own = 0
    elseif number(ends) <= now then
        redis.call('HDEL', KEYS[2], leases[i])
    elseif leases[i] == holder then
        own = number(units)
    else
        others = others + number(units)
    end
end
if same then
    own = kept
end

local left = capacity - number(redis.call('HGET', KEYS[1], 'spent')) - others - own
local granted = math.max(0, math.min(wanted, left))
if own + granted > 0 then
    if same or granted > 0 then
        redis.call('HSET', KEYS[2], holder, text(own + granted) .. ':' .. text(until_))
        redis.call('PEXPIRE', KEYS[2], text(2 * tonumber(ARGV[6])))
    end
elseif same then
    redis.call('HDEL', KEYS[2], holder)
end
return {text(granted), text(math.max(0, left - granted)), text(number(redis.call('HGET', KEYS[1], 'd:' .. holder)))}
