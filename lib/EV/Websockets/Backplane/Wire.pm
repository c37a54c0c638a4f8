package EV::Websockets::Backplane::Wire;

# What a Backplane has in Redis: the scripts that write and read it, and the octets of a message.

use strict;
use warnings;
use 5.010;

use constant {
    IS_BINARY    => 1,
    HAS_COMPRESS => 2,
    IS_COMPRESS  => 4,
    HAS_KEY      => 8,
};

# ---- messages ----

# A message as everybody gets it: who published it, the number that it has there, and its content: how it is to be sent,
# and its octets.
sub pack_message {
    my ($publisher, $number, $content) = @_;
    return pack 'a8wa*', $publisher, $number, $content;
}

# Dies if something is not octets.
sub pack_content {
    my ($data, $options) = @_;
    my $compress = $options->{compress};
    my $flags = ($options->{binary} ? IS_BINARY : 0)
        | (defined $compress ? HAS_COMPRESS | ($compress ? IS_COMPRESS : 0) : 0)
        | (defined $options->{key} ? HAS_KEY : 0);
    my $content = pack 'Cn/a*a*', $flags, $options->{key} // '', $data;
    utf8::downgrade($content);
    return $content;
}

sub data_of { return (unpack 'Cn/a*a*', $_[0])[2] }

sub unpack_message {
    my ($publisher, $number, $flags, $key, $data) = unpack 'a8wCn/a*a*', $_[0];
    my @options = (binary => $flags & IS_BINARY ? 1 : 0);
    push @options, compress => $flags & IS_COMPRESS ? 1 : 0 if $flags & HAS_COMPRESS;
    push @options, key => $key if $flags & HAS_KEY;
    return ($publisher, $number, $data, @options);
}

# What is published in Redis: the epoch, where it began, the offset of the first message, and messages. Nothing if it
# is not ours.
sub unpack_envelope {
    my ($epoch, $begin, $first) = $_[0] =~ /\A([0-9a-f]{16}) ([0-9]+) ([0-9]+)\n/ or return;
    return ($epoch, $begin, $first, unpack '(N/a*)*', substr $_[0], $+[0]);
}

# ---- scripts ----

# The record of a topic: e, its epoch; r, which run of Redis began it; b, the offset at which it began; l, the offset of
# the latest message. A run that has not begun it may have lost some of what the record tells of, so another epoch
# begins. The stream of a record that was lost is of no use.
my $RECORD = <<'LUA';
local function text(number) return string.format('%.0f', number) end
local function record(key, stream, run, candidate)
  local h = redis.call('HMGET', key, 'e', 'r', 'b', 'l')
  local epoch, begin, latest = h[1], tonumber(h[3] or 0), tonumber(h[4] or 0)
  if not epoch or h[2] ~= run then
    if not epoch then redis.call('DEL', stream) end
    epoch, begin = candidate, latest
    redis.call('HSET', key, 'e', epoch, 'r', run, 'b', text(begin), 'l', text(latest))
  end
  return epoch, begin, latest
end
LUA

# KEYS: the publisher's key, then record and stream of each group. ARGV: the run, an epoch that may begin, how long the
# publisher is remembered (seconds), the number of the last message, then for each group: channel, how many are kept,
# how long (milliseconds, 0: no matter), how long the record is (milliseconds), number of the first message, how many,
# the messages. Of numbers that were here before, nothing happens again. Returns what went wrong, group by group.
our $PUBLISH = $RECORD . <<'LUA';
local done = tonumber(redis.call('GET', KEYS[1]) or 0)
if tonumber(ARGV[4]) > done then redis.call('SET', KEYS[1], ARGV[4], 'EX', ARGV[3]) end
local errors, a, now = {}, 5, nil
for k = 2, #KEYS, 2 do
  local key, stream, channel = KEYS[k], KEYS[k + 1], ARGV[a]
  local keep, age, ttl = tonumber(ARGV[a + 1]), tonumber(ARGV[a + 2]), ARGV[a + 3]
  local number, count = tonumber(ARGV[a + 4]), tonumber(ARGV[a + 5])
  a = a + 6
  local skip = math.min(math.max(done - number + 1, 0), count)
  if skip < count then
    local epoch, begin, latest = record(key, stream, ARGV[1], ARGV[2])
    local parts, offset = {}, latest
    for i = a + skip, a + count - 1 do
      local message = ARGV[i]
      if keep > 0 then
        if age > 0 and not now then
          local time = redis.call('TIME')
          now = time[1] * 1000 + math.floor(time[2] / 1000)
        end
        local added = redis.pcall('XADD', stream, 'MAXLEN', '~', ARGV[a - 5], text(offset + 1) .. '-0', 'm', message, 't', text(now or 0))
        if type(added) == 'table' and added.err then
          errors[#errors + 1] = text((k - 2) / 2)
          errors[#errors + 1] = text(skip + #parts)
          errors[#errors + 1] = added.err
          break
        end
      end
      offset = offset + 1
      parts[#parts + 1] = struct.pack('>I4', #message) .. message
    end
    if #parts > 0 then
      redis.call('HSET', key, 'l', text(offset))
      redis.call('PEXPIRE', key, ttl)
      if keep > 0 then
        redis.call('PEXPIRE', stream, age > 0 and age or ttl)
        for i = 1, age > 0 and 32 or 0 do
          local first = redis.call('XRANGE', stream, '-', '+', 'COUNT', 1)[1]
          if not first or now - tonumber(first[2][4]) < age then break end
          redis.call('XDEL', stream, first[1])
        end
      end
      redis.call('PUBLISH', channel, epoch .. ' ' .. text(begin) .. ' ' .. text(latest + 1) .. '\n' .. table.concat(parts))
    end
  end
  a = a + count
end
return errors
LUA

# KEYS: record, stream. ARGV: the run, an epoch that may begin, how long the record is kept (milliseconds), the position
# that is known (an empty epoch: none), how many messages are wanted at most, how old they may be (milliseconds, 0: no
# matter). Returns epoch, where it began, the latest offset, the offset that was looked from, the offset of the first
# message, and messages without a gap.
our $LOOK = $RECORD . <<'LUA';
local epoch, begin, latest = record(KEYS[1], KEYS[2], ARGV[1], ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
local from = latest
if ARGV[4] ~= '' then
  from = tonumber(ARGV[5])
  if epoch ~= ARGV[4] then from = math.min(from, begin) end
  if from > latest then from = latest end
end
local reply = { epoch, text(begin), text(latest), text(from), '0' }
if from < latest and ARGV[6] ~= '0' then
  local found = redis.call('XRANGE', KEYS[2], text(from + 1) .. '-0', '+', 'COUNT', ARGV[6])
  local age, now, next = tonumber(ARGV[7]), 0, nil
  if age > 0 then now = redis.call('TIME')[1] * 1000 end
  for i = 1, #found do
    local offset, fields = tonumber(string.match(found[i][1], '^%d+')), found[i][2]
    if age == 0 or now - tonumber(fields[4]) < age then
      if not next then reply[5] = text(offset) elseif offset ~= next then break end
      reply[#reply + 1] = fields[2]
      next = offset + 1
    end
  end
end
return reply
LUA

1;
