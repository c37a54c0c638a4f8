use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use ServerProgram;
use Test::More;

BEGIN {
    plan skip_all => 'redis-server is not installed' unless ServerProgram::find('redis-server');
}

use Cluster;
use EV;
use EV::Websockets;
use EV::Websockets::Backplane;
use Events;
use InChild;
use OwnRedis;
use Run;
use Scalar::Util qw(weaken);

# Topics over several contexts, each with a Backplane, through a Redis of our own.

my $cluster = Cluster->new or BAIL_OUT('redis-server does not start');

# A context with a listener and a Backplane: what it does in one process, several do in many.
sub node {
    my ($client, %options) = @_;
    my $node = { events => [] };
    $node->{context} = EV::Websockets::Context->new(proxy => '');
    my @log = map {
        my $name = $_;
        ("on_$name" => sub { my (undef, @rest) = @_; push @{ $node->{events} }, [ $name, @rest ] });
    } qw(up down gap refused missed);
    $node->{backplane} = EV::Websockets::Backplane->new(
        $node->{context},
        ($client eq 'OwnRedis' ? (redis => OwnRedis->new($cluster->socket)) : (redis => $cluster->url, client => $client)),
        retry => 0.05, @log, %options,
    );
    $node->{server} = Events->new;
    $node->{port} = $node->{context}->listen(host => '127.0.0.1', port => 0, $node->{server}->handlers);
    return $node;
}

sub happened {
    my ($node, $name) = @_;
    return scalar grep { $_->[0] eq $name } @{ $node->{events} };
}

# A client, what it gets, and the server's connection of it.
sub enter {
    my ($node, @topics) = @_;
    my $events = Events->new;
    $node->{server}->follow_next;
    my $conn = $node->{context}->connect(url => "ws://127.0.0.1:$node->{port}/", $events->handlers);
    run_until(sub { $events->count('connect') && $node->{server}->conn }, 'a client is there');
    my $server_side = $node->{server}->conn;
    $server_side->subscribe($_) for @topics;
    return { events => $events, client => $conn, server => $server_side };
}

# What Redis answers to a command.
my $asking = OwnRedis->new($cluster->socket);
$asking->connect({ up => sub { }, down => sub { }, message => sub { } });

sub redis {
    my (@words) = @_;
    my @answer;
    $asking->command(sub { @answer = @_ ? @_ : undef }, @words);
    wait_until(sub { @answer });
    return $answer[0];
}

for my $client (Cluster::clients()) {
    my @nodes = map { node($client, prefix => "$client:") } 1 .. 2;
    run_until(sub { 2 == grep { happened($_, 'up') } @nodes }, "$client: on_up");
    ok($_->{backplane}->is_up, "$client: is_up") for @nodes;
    is_deeply(redis(qw(PUBSUB CHANNELS), "$client:t:*"), [], "$client: nothing is subscribed to in Redis as long as nobody wants it");
    my ($ann, $bob) = map { enter($_, 'room') } @nodes;
    my $eve = enter($nodes[1], 'other');
    my $odd = "caf\xE9 \0\r\n*";
    $ann->{server}->subscribe($odd);

    # Published in the turn of the subscription, which Redis has not confirmed yet.
    ok($nodes[0]{context}->publish('room', 'first'), "$client: publish returns true");
    run_until(sub { $ann->{events}->messages }, "$client: who has just subscribed gets it");
    run_until(sub { @{ redis(qw(PUBSUB CHANNELS), "$client:t:*") } == 3 }, "$client: Redis knows three topics");
    # Whether bob had subscribed in time for the first one is for Redis to say. What follows comes after it.
    $nodes[0]{context}->publish('room', 'second');
    run_until(sub { 2 == grep { grep { $_ eq 'second' } $_->{events}->messages } $ann, $bob }, "$client: both hear what follows");

    $_->{events}->forget for $ann, $bob, $eve;
    my $binary = join('', map { chr } 0 .. 255) . "\r\n\$5\r\n";
    $nodes[0]{context}->publish('room', "text \x{263a}");
    $nodes[0]{context}->publish('room', $binary, binary => 1);
    $nodes[0]{context}->publish('room', '');
    $nodes[0]{context}->publish('room', "\xE9", utf8 => 1);
    $nodes[1]{context}->publish($odd, 'to an odd topic', key => "k\0");
    my @expected = ("text \xE2\x98\xBA", $binary, '', "\xC3\xA9");
    run_until(sub { $ann->{events}->messages == 5 && $bob->{events}->messages == 4 }, "$client: all of it comes");
    is_deeply([ grep { $_ ne 'to an odd topic' } $ann->{events}->messages ], \@expected, "$client: to who is here, octet by octet");
    is_deeply([ $bob->{events}->messages ], \@expected, "$client: and to who is there");
    is_deeply([ map { $_->[3] ? 1 : 0 } grep { $_->[0] eq 'message' } @{ $bob->{events}->log } ], [ 0, 1, 0, 0 ], "$client: text stays text, binary binary");

    # In one order for all, each once.
    $_->{events}->forget for $ann, $bob;
    for my $n (1 .. 300) {
        $nodes[$n % 2]{context}->publish('room', $n);
    }
    run_until(sub { 2 == grep { $_->{events}->messages == 300 } $ann, $bob }, "$client: 300 messages");
    is_deeply([ $ann->{events}->messages ], [ $bob->{events}->messages ], "$client: in one order");

    # Not to its author; and only here.
    $_->{events}->forget for $ann, $bob;
    my $cat = enter($nodes[0], 'room');
    $nodes[0]{context}->publish('room', 'mine', except => $ann->{server});
    is($nodes[0]{context}->publish('room', 'local', local => 1), 2, "$client: local => 1 tells how many");
    $nodes[1]{context}->publish('room', 'last');
    run_until(sub { $ann->{events}->messages == 2 && $bob->{events}->messages == 2 && $cat->{events}->messages == 3 },
        "$client: all of it came");
    settle();
    is_deeply([ sort $ann->{events}->messages ], [qw(last local)], "$client: except is kept on the way through Redis");
    is_deeply([ sort $bob->{events}->messages ], [qw(last mine)], "$client: local stays local");
    is_deeply([ sort $cat->{events}->messages ], [qw(last local mine)], "$client: others get both");
    is_deeply([ $eve->{events}->messages ], [], "$client: another topic got nothing of it");

    # The last one leaves, and another comes before Redis has heard.
    $bob->{server}->unsubscribe('room');
    settle();
    is_deeply(redis(qw(PUBSUB NUMSUB), "$client:t:room"), [ "$client:t:room", 1 ], "$client: who has no subscribers is not subscribed");
    for (1 .. 3) {
        $bob->{server}->subscribe('room');
        $bob->{server}->unsubscribe('room');
    }
    $bob->{server}->subscribe('room');
    $nodes[1]{context}->publish('room', 'back');
    run_until(sub { grep { $_ eq 'back' } $bob->{events}->messages }, "$client: to and fro, and there at last");
    my $left;
    $nodes[1]{context}->publish('room', 'the end');
    is($nodes[1]{backplane}->pending, 1, "$client: it waits for the end of the turn");
    $nodes[1]{backplane}->flush(sub { $left = $_[1] });
    run_until(sub { defined $left }, "$client: or until flush");
    is($left, 0, "$client: nothing is left");
    $_->{backplane}->close for @nodes;
    is_deeply(redis(qw(PUBSUB CHANNELS), "$client:*"), [], "$client: close leaves no subscription") if wait_until(sub { !@{ redis(qw(PUBSUB CHANNELS), "$client:*") } });
    is($nodes[0]{context}->publish('room', 'alone'), 2, "$client: closed, it is a context as others");
}

# ---- Redis is away ----

{
    my $refusing = node('OwnRedis', history => 10);
    my $keeping  = node('OwnRedis', history => 10, while_down => 'keep', max_pending => 3);
    my $bounded  = node('OwnRedis', history => 10, while_down => 'keep', max_pending_bytes => 10, max_pending_age => 0.2);
    my @nodes = ($refusing, $keeping, $bounded);
    run_until(sub { 3 == grep { happened($_, 'up') } @nodes }, 'three are up');
    my ($ann) = enter($refusing, 'news');
    run_until(sub { redis(qw(PUBSUB NUMSUB evws:t:news))->[1] }, 'the news is subscribed to');
    $keeping->{context}->publish('news', 'before');
    run_until(sub { $ann->{events}->messages }, 'the news is read');
    $cluster->kill_redis;
    run_until(sub { 3 == grep { happened($_, 'down') } @nodes }, 'on_down');
    ok(!$refusing->{backplane}->is_up, 'is_up tells so');
    croaks_like { $refusing->{backplane}->flush } qr/\Aflush: the callback must be a code reference \(got undef\) at \Q$0\E/, 'flush without a callback';
    ok(!$refusing->{context}->publish('news', 'x'), 'refuse: publish returns false');
    is(join('', map { $keeping->{context}->publish('news', "kept $_") ? 1 : 0 } 1 .. 5), '11100', 'keep: up to max_pending');
    is($keeping->{backplane}->pending, 3, 'pending tells how many');
    my $left;
    $keeping->{backplane}->flush(sub { $left = $_[1] });
    is($left, 3, 'and so does flush, which does not wait in vain');
    is(join('', map { $bounded->{context}->publish('news', $_) ? 1 : 0 } '12345', '123456', '1234'), '101', 'keep: up to max_pending_bytes');
    run_until(sub { happened($bounded, 'refused') == 2 }, 'what was kept for max_pending_age is given up');
    my ($refused) = grep { $_->[0] eq 'refused' } @{ $bounded->{events} };
    is($refused->[1], 'news', 'on_refused: the topic');
    is($refused->[2], '12345', 'on_refused: the data');
    like($refused->[3], qr/\Anot confirmed: /, 'on_refused: the reason');
    is($bounded->{backplane}->pending, 0, 'nothing is left');
    # What was kept was given up when somebody set the clock.
    {
        no warnings 'redefine';
        my ($time, $over) = (\&EV::time);
        local *EV::time = sub () { $time->() + 365 * 86_400 };
        my $timer = EV::timer(1.5, 0, sub { $over = 1 });
        run_until(sub { $over }, 'the clock is set');
        is($keeping->{backplane}->pending, 3, '... and nothing is given up for that');
    }
    ok($cluster->start_redis, 'Redis comes again');
    run_until(sub { 3 == grep { happened($_, 'up') == 2 } @nodes }, 'on_up');
    run_until(sub { $ann->{events}->messages >= 4 }, 'what was kept comes');
    is_deeply([ $ann->{events}->messages ], [ 'before', map { "kept $_" } 1 .. 3 ], 'in its order');
    is_deeply([ grep { $_->[0] eq 'gap' } @{ $refusing->{events} } ], [ [ 'gap', 'news', 'another epoch', undef ] ], 'on_gap: who subscribes is told that some may be lost');

    # A Redis that has stopped without a word.
    my $fast = node('OwnRedis', ping_interval => 0.1, timeout => 0.3);
    run_until(sub { happened($fast, 'up') }, 'another one is up');
    $cluster->signal_redis('STOP');
    run_until(sub { happened($fast, 'down') }, 'no answer: on_down');
    is($fast->{events}[-1][1], 'no answer from Redis', 'and why');
    $cluster->signal_redis('CONT');
    run_until(sub { happened($fast, 'up') == 2 }, 'and up again');
    $_->{backplane}->close for @nodes, $fast;
}
$asking->connect({ up => sub { }, down => sub { }, message => sub { } });

# ---- a loss that can be counted ----

{
    my @nodes = map { node('OwnRedis', prefix => 'count:', retry => $_) } 3600, 0.05;
    run_until(sub { 2 == grep { happened($_, 'up') } @nodes }, 'two are up');
    my ($ann, $ben) = map { enter($_, 'plain') } @nodes;
    $nodes[1]{context}->publish('plain', 1);
    run_until(sub { $ann->{events}->messages && $ben->{events}->messages }, 'the first one is there');
    # Its connection is cut, and comes again when seven more were published. It came after half a second, which was too soon
    # for a slow machine.
    redis(qw(CLIENT KILL TYPE pubsub));
    run_until(sub { happened($nodes[0], 'down') }, 'the connection is lost');
    run_until(sub { happened($nodes[1], 'up') == 2 }, 'the other one is back');
    $nodes[1]{context}->publish('plain', $_) for 2 .. 8;
    run_until(sub { $ben->{events}->messages == 8 }, 'seven are published');
    $nodes[0]{backplane}{redis}->connect;
    run_until(sub { happened($nodes[0], 'up') == 2 }, 'and found');
    is_deeply([ grep { $_->[0] eq 'gap' } @{ $nodes[0]{events} } ], [ [ 'gap', 'plain', 'no history', 7 ] ], 'pub/sub: seven are lost, and that is told');
    $nodes[1]{context}->publish('plain', 9);
    run_until(sub { $ann->{events}->messages == 2 }, 'the next one comes');
    $_->{backplane}->close for @nodes;
}

# ---- callbacks ----

{
    my $node = node('OwnRedis', prefix => 'die:', on_up => sub { die "in on_up\n" });
    run_until(sub { $node->{backplane}->is_up }, 'a callback that dies does no harm');
    like(join('', warned()), qr/\AEV::Websockets::Backplane: on_up: in on_up$/, 'and its text is a warning');
    my $gone;
    $node = node('OwnRedis', prefix => 'gone:', on_up => sub { undef $node; $gone = 1 });
    run_until(sub { $gone }, 'a callback may drop everything');
    weaken(my $context = EV::Websockets::Context->new);
    settle();
}

{
    my $context = EV::Websockets::Context->new;
    my $backplane = EV::Websockets::Backplane->new($context, redis => OwnRedis->new($cluster->socket));
    weaken(my $weak = $backplane);
    weaken(my $weak_context = $context);
    undef $backplane;
    ok($weak, 'the context keeps it');
    undef $context;
    ok(!$weak_context, 'and it does not keep the context');
    ok(!$weak, 'so both go');
}

# One takes the place of another. The bug: when that was closed, or went, it took the new one away from the context.
{
    my $context = EV::Websockets::Context->new;
    my ($first, $second, $third) = map { EV::Websockets::Backplane->new($context, redis => OwnRedis->new('/nowhere'), while_down => 'keep') } 1 .. 3;
    is($context->backplane, $third, 'the last one is asked');
    $first->close;
    undef $second;
    is($context->backplane, $third, 'also when the others have ended');
    $context->publish('t', 'x');
    is($third->pending, 1, 'and takes what is published');
    $third->close;
    is($context->backplane, undef, 'until it is closed');
    is($context->publish('t', 'x'), 0, 'then the context has none');
}

# on_missed closes it when the connection is lost. The bug: it connected to Redis again, for nobody.
{
    package Silent;    # a Redis that does not answer when it is asked for messages
    sub new { return bless { connected => 0 }, $_[0] }
    sub connect { my ($self, $events) = @_; $self->{connected}++; $self->{events} = $events; $events->{up}->() }
    sub subscribe { $_[2]->() }
    sub unsubscribe { }
    sub disconnect { }
    sub command {
        my ($self, $callback, $command) = @_;
        $callback->($command eq 'INFO' ? "redis_version:7.0.0\r\nrun_id:0123456789abcdef0123\r\n" : 'sha') if $command =~ /\A(?:SCRIPT|INFO)/;
    }
}
{
    my $redis = Silent->new;
    my ($down, $missed) = (0, 0);
    my $context = EV::Websockets::Context->new(proxy => '');
    my $backplane = EV::Websockets::Backplane->new(
        $context, redis => $redis, retry => 0.001, on_down => sub { $down++ }, on_missed => sub { $missed++; $_[0]->close },
    );
    my $server = Events->new;
    my $port = $context->listen(host => '127.0.0.1', $server->handlers);
    my $client = $context->connect(url => "ws://127.0.0.1:$port/", on_error => sub { });
    run_until(sub { $server->conn }, 'a client of a Redis that is silent');
    ok($server->conn->subscribe('t', since => [ 'a' x 16, 5 ]), 'a subscriber that comes back waits for Redis');
    $redis->{events}{down}->('gone');
    run_until(sub { $missed }, 'and is told of its loss');
    settle();
    is($redis->{connected}, 1, 'a Backplane that was closed then does not connect again');
    is($missed, 1, 'tells it once');
    is($down, 0, 'and says nothing');
}

# ---- what it refuses ----

{
    my $context = EV::Websockets::Context->new;
    my $redis = OwnRedis->new('/nowhere');
    my $new = sub { EV::Websockets::Backplane->new($context, redis => $redis, @_) };
    croaks_like { EV::Websockets::Backplane->new('x', redis => $redis) } qr/\Anew: the context must be an EV::Websockets::Context \(got 'x'\) at \Q$0\E/, 'no context';
    croaks_like { EV::Websockets::Backplane->new($context) } qr/\Anew: redis must be given: /, 'no redis';
    croaks_like { EV::Websockets::Backplane->new($context, redis => 'http://x') } qr/\Anew: redis must be redis:.*\(got 'http:\/\/x'\) at \Q$0\E/, 'no URL of Redis';
    croaks_like { EV::Websockets::Backplane->new($context, redis => 'redis://u:secret@x:0') } qr/\Anew: redis must be .*\(got 'redis:\/\/\.\.\.\@x:0'\): there is no port 0 at/, 'a password is not shown';
    croaks_like { EV::Websockets::Backplane->new($context, redis => bless [], 'Nothing') } qr/\Anew: redis must be .*, which has no connect\) at/, 'no client';
    croaks_like { EV::Websockets::Backplane->new($context, redis => 'redis://x', client => 'Foo') } qr/\Anew: client must be 'AnyEvent::Redis' or 'EV::Redis' \(got 'Foo'\) at/, 'an unknown client';
    croaks_like { $new->(while_dwn => 1) } qr/\Anew: unknown option 'while_dwn': did you mean 'while_down'\? at/, 'an unknown option';
    croaks_like { $new->('prefix') } qr/\Anew: options come in pairs/, 'half an option';
    my %bad = (
        prefix => "\x{100}", while_down => 'wait', max_pending => 0, max_pending_bytes => -1, max_pending_age => 1e6, max_message_size => 'big',
        timeout => 0, ping_interval => 'never', retry => -1, expire => 1, history => -1, on_up => 1, on_gap => {}, max_pending_age => 'x',
    );
    for my $name (sort keys %bad) {
        croaks_like { $new->($name => $bad{$name}) } qr/\Anew: $name must be .+ \(got '.+'\) at \Q$0\E line/, "$name: a bad value";
    }
    croaks_like { $new->(timeout => undef) } qr/\Anew: timeout must be .+ \(got undef\) at/, 'undef';
    croaks_like { $new->(prefix => $context) } qr/\Anew: prefix must be a string of octets \(got 'EV::Websockets::Context=/, 'an object as the prefix';
    my $backplane = $new->(max_message_size => 5, while_down => 'keep', retry => 1000);
    croaks_like { $context->publish('t', '123456') } qr/\Apublish: a message of more than max_message_size 5 octets \(got 6\) at \Q$0\E/, 'a message that is too large';
    croaks_like { $context->publish('t', "\x{100}", binary => 1) } qr/\Apublish: wide character/, 'wide characters in a binary message';
    croaks_like { $context->publish('t', undef) } qr/\Apublish: data must be defined/, 'no data';
    # The bug: other processes got the text of the reference, EV::Websockets::Context=SCALAR(0x...).
    croaks_like { $context->publish('t', $context) } qr/\Apublish: data must be a string or a prepared message \(got 'EV::Websockets::Context=SCALAR/, 'an object';
    croaks_like { $context->publish('t', 'x', key => []) } qr/\Apublish: key must be a string \(got 'ARRAY/, 'a key that is none';
    croaks_like { $context->publish('t', 'x', frame => sub { }) } qr/\Apublish: a frame of one message needs local => 1/, 'a frame of one message';
    croaks_like { $context->publish('t', $context->prepare('x')) } qr/\Apublish: a message that is prepared is for this process alone/, 'a prepared message';
    croaks_like { $context->publish('t', 'x', key => 'k' x 70_000) } qr/\Apublish: the key must have at most 65535 octets/, 'a long key';
}

# A child that lets go of its copy. The bug: it ended its parent's connection to Redis, of which it had the socket.
for my $client (grep { $_ ne 'OwnRedis' } Cluster::clients()) {
    my $node = node($client);
    run_until(sub { happened($node, 'up') }, "$client: up");
    in_child("$client: a child drops its copy", sub { delete @$node{qw(backplane context)}; 1 });
    settle();
    is(happened($node, 'down'), 0, "$client: its parent's connection is there still");
    $node->{backplane}->close;
}

finish();
