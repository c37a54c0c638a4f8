use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Crowd;
use EV;
use EV::Websockets;
use Frame;
use Pair;
use Run;
use Test::More;

# Topics: who gets what is published, in which order, and what is left of whoever has gone.

# The usual life.
{
    my $crowd = Crowd->new(peers => 3);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    ok($conn[0]->subscribe('room:42'), 'subscribe');
    ok($conn[1]->subscribe('room:42'), 'another one');
    ok($conn[1]->subscribe('room:42'), 'twice is once');
    ok($conn[1]->subscribe('room:43'), 'a second topic');
    is($ctx->subscribers('room:42'), 2, 'two subscribers');
    is($ctx->subscribers('room:1'), 0, 'none of what is none');
    is_deeply([ sort $ctx->topics ], [ 'room:42', 'room:43' ], 'the topics');
    is(scalar $ctx->topics, 2, 'their number');
    is_deeply([ sort $conn[1]->topics ], [ 'room:42', 'room:43' ], q{a connection's topics});
    is_deeply([ $conn[2]->topics ], [], 'none');
    is($ctx->publish('room:42', 'one'), 2, 'published for two');
    is($ctx->publish('room:43', 'two', binary => 1), 1, 'and for one');
    is($ctx->publish('room:1', 'nobody'), 0, 'and for nobody');
    is($ctx->publish('room:42', 'three', except => $conn[1]), 1, 'but for one');
    is($ctx->publish('room:42', 'four', except => $conn[2]), 2, 'but for one that has not subscribed');
    is_deeply($crowd->got(0, 3), [ 'one', 'three', 'four' ], 'the first has got its messages');
    my @frames = $crowd->frames(1, 3);
    is_deeply([ map { $_->{payload} } @frames ], [ 'one', 'two', 'four' ], 'the second those of both, in order');
    is_deeply([ map { $_->{opcode} } @frames ], [ TEXT, BINARY, TEXT ], 'as they were meant');
    is_deeply($crowd->got(2, 0), [], 'the third none');
    ok($conn[0]->unsubscribe('room:42'), 'unsubscribe');
    ok(!$conn[0]->unsubscribe('room:42'), 'once');
    ok(!$conn[0]->unsubscribe('never'), 'what never was');
    is($ctx->publish('room:42', 'five'), 1, 'one is left');
    is_deeply($crowd->got(1, 1), ['five'], 'who gets it');
    is_deeply($crowd->got(0, 0), [], 'and nobody else');
    $conn[1]->unsubscribe($_) for $conn[1]->topics;
    is_deeply([ $ctx->topics ], [], 'no topic is left');
}

# Names are octets.
{
    my $crowd = Crowd->new(peers => 1);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    my @names = ("\0", "a\0b", "\xFF\xFE", ' ', 'x' x 65535, "caf\xE9", '0');
    $conn->subscribe($_) for @names;
    is_deeply([ sort $conn->topics ], [ sort @names ], 'any octets are a name');
    my $upgraded = "caf\xE9";
    utf8::upgrade($upgraded);
    is($ctx->publish($upgraded, 'x'), 1, 'however perl keeps them');
    croaks_like(sub { $conn->subscribe("\x{100}") }, qr/^subscribe: topic must be bytes/, 'characters are none');
    croaks_like(sub { $conn->subscribe('') }, qr/^subscribe: topic must be 1 to 65535 octets, not 0/, 'nor is nothing');
    croaks_like(sub { $ctx->publish('x' x 65536, 'x') }, qr/^publish: topic must be 1 to 65535 octets, not 65536/, 'or too much');
    croaks_like(sub { $ctx->subscribers(undef) }, qr/^subscribers: topic must be a defined string \(got 'undef'\)/, 'undef');
    croaks_like(sub { $conn->unsubscribe([]) }, qr/^unsubscribe: topic must be a defined string/, 'a reference');
}

# Very many topics, prepared messages and publications at once: tables grow, become small again, and lose nothing.
{
    my $crowd = Crowd->new(peers => 1);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    my @names = map { "topic $_" } 1 .. 2000;
    $conn->subscribe($_) for @names;
    my @prepared = map { $ctx->prepare("prepared $_") } 1 .. 2000;
    is(scalar $ctx->topics, 2000, 'all topics are there');
    $ctx->publish($names[$_], $prepared[$_]) for 0 .. $#names;
    is_deeply($crowd->got(0, 2000), [ map { "prepared $_" } 1 .. 2000 ], 'each has its message');
    $conn->unsubscribe($_) for @names[ 1 .. $#names - 1 ];
    splice @prepared, 1, -1;
    is_deeply([ sort $ctx->topics ], [ sort @names[ 0, -1 ] ], 'two are left');
    $ctx->publish($names[0], $prepared[0]);
    $ctx->publish($names[-1], $prepared[-1]);
    is_deeply($crowd->got(0, 2), [ 'prepared 1', 'prepared 2000' ], 'and get what is theirs');
}

# Order: publications lie where they were made between everything else that a connection is sent.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, $one, $two) = ($crowd->ctx, $crowd->conns);
    $_->subscribe('a'), $_->subscribe('b') for $one, $two;
    $one->send('1');
    $ctx->publish('a', '2');
    $one->send('3');
    $ctx->publish('b', '4');
    $ctx->publish('a', '5');
    $ctx->publish('a', '6');
    is($one->send_queue_size, 6, 'the queue counts them at once');
    is($one->stats->{messages_sent}, 6, 'so do the statistics');
    $ctx->broadcast('7', [$one]);
    $one->send_ping('p');
    $ctx->publish('b', '8');
    $one->close(1000, 'bye');
    is($ctx->publish('a', '9'), 1, 'one that is closing has left');
    is_deeply([ $one->topics ], [], 'and knows no topics');
    is_deeply($crowd->got(0, 10), [ 1 .. 7, 'p', 8, close_payload(1000, 'bye') ], 'in the order of the calls');
    is_deeply($crowd->got(1, 6), [ 2, 4, 5, 6, 8, 9 ], 'for the other one, too');
}

# Every question about a queue counts what was published just before.
for my $ask (qw(stats totals is_writable)) {
    my $crowd = Crowd->new(peers => 1, listen => { max_send_queue => 3 });
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    $conn->subscribe('t');
    $ctx->publish('t', 'four');
    my $found = $ask eq 'stats' ? $conn->stats->{messages_sent} : $ask eq 'totals' ? $ctx->stats->{messages_sent}
        : !$conn->is_writable;
    is($found, 1, "$ask: the message is counted");
}

# Who subscribes gets what is published afterwards, who has left what was published before.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, $one, $two) = ($crowd->ctx, $crowd->conns);
    $one->subscribe('t');
    $ctx->publish('t', 'before');
    $two->subscribe('t');
    $ctx->publish('t', 'both');
    $one->unsubscribe('t');
    $ctx->publish('t', 'after');
    is_deeply($crowd->got(0, 2), [ 'before', 'both' ], 'the one that has left');
    is_deeply($crowd->got(1, 2), [ 'both', 'after' ], 'the one that came');
}

# From within on_message: what a chat does.
{
    my ($ctx, @said);
    my $crowd = Crowd->new(peers => 0, ctx => $ctx = EV::Websockets::Context->new, listen => {
        on_message => sub {
            my ($conn, $text) = @_;
            push @said, $ctx->publish('chat', $text, except => $conn);
            $conn->send("sent $text");
            $ctx->publish('chat', 'all');
        },
    });
    $crowd->join_in for 1 .. 3;
    $_->subscribe('chat') for $crowd->conns;
    $crowd->peer(0)->send_frame(TEXT, 'hello');
    is_deeply($crowd->got(0, 2), [ 'sent hello', 'all' ], 'the speaker');
    is_deeply($crowd->got($_, 2), [ 'hello', 'all' ], 'a listener') for 1, 2;
    is_deeply(\@said, [2], 'it was for two');
}

# From every other callback, and a callback that destroys the context right after it.
{
    my ($ctx, $subscriber, $crowd);
    my %seen;
    my $publish = sub { my ($name) = @_; return sub { $seen{$name} = $ctx->publish('t', $name) } };
    $ctx = EV::Websockets::Context->new;
    $crowd = Crowd->new(peers => 1, ctx => $ctx, listen => {
        on_close => $publish->('close'), on_pong => $publish->('pong'), on_error => $publish->('error'),
    });
    $subscriber = $crowd->conn(0);
    $subscriber->subscribe('t');
    my $other = $crowd->join_in;
    $crowd->peer($other)->send_frame(PONG, 'x');
    run_until(sub { $seen{pong} }, 'from on_pong');
    $crowd->peer($other)->put("\xFF\xFF");
    run_until(sub { $seen{close} }, 'from on_error and on_close');
    is_deeply($crowd->got(0, 3), [ 'pong', 'error', 'close' ], 'all are delivered');

    my $gone;
    my $last = $crowd->join_in;
    $crowd->conn($last)->subscribe('t');
    my $server = Crowd->new(peers => 1, listen => { on_message => sub {
        $ctx->publish('t', 'last');
        undef $ctx;
        delete $crowd->{ctx};
        $gone = 1;
    } });
    $server->peer(0)->send_frame(TEXT, 'go');
    run_until(sub { $gone }, 'a context is destroyed that has just published');
    settle();
}

# What was published before a context is destroyed was lost, while what was sent was offered to the system.
{
    my $crowd = Crowd->new(peers => 2);
    $_->subscribe('t') for $crowd->conns;
    $crowd->ctx->publish('t', 'last words');
    $crowd->ctx->DESTROY;
    is_deeply($crowd->got($_, 1), ['last words'], 'published as the last act of a context') for 0, 1;
}

# A peer that closed right after its message did not get what was published for that, since its Close was answered first.
{
    my $ctx = EV::Websockets::Context->new;
    my $crowd = Crowd->new(peers => 2, ctx => $ctx, listen => { on_message => sub { $ctx->publish('t', $_[1]) } });
    $_->subscribe('t') for $crowd->conns;
    my $peer = $crowd->peer(0);
    $peer->put($peer->make(TEXT, 'bye') . $peer->make(CLOSE, close_payload(1000)));
    is_deeply($crowd->got(0, 2), [ 'bye', close_payload(1000) ], 'a peer that says something and closes');
    is_deeply($crowd->got(1, 1), ['bye'], 'and who stays');
}

# The code behind one argument takes the others away, the connection and its context.
{
    package Taker;
    sub TIESCALAR { return bless { act => $_[1] }, $_[0] }
    sub FETCH { $_[0]{act}->(); return 0 }
}
for my $name (qw(local on_slow)) {
    my $crowd = Crowd->new(peers => 1);
    my $conn = $crowd->conn(0);
    my @arg = ($conn, 'a topic' . $name);
    tie my $tied, 'Taker', sub { @arg = (); return };
    eval { EV::Websockets::Connection::subscribe($arg[0], $arg[1], $name => $tied); 1 }
        or like($@, qr/on_slow must be/, 'no other complaint');
    is_deeply([ $conn->topics ], $name eq 'local' ? ['a topiclocal'] : [], "$name: the topic that was meant");
}
{
    package Stringy;
    use overload '""' => sub { $_[0]{act}->(); return 'drop_old' }, bool => sub { $_[0]{act}->(); return 0 }, fallback => 1;
}
for my $name (qw(local on_slow)) {
    my $crowd = Crowd->new(peers => 1);
    my $conn = $crowd->conn(0);
    my $taker = bless { act => sub { $crowd->ctx->DESTROY } }, 'Stringy';
    croaks_like(sub { $conn->subscribe('t', since => [ 'x', 1 ], $name => $taker) }, qr/Connection is not open/,
        "$name destroys the context");
}

# A frame whose end destroys the context.
{
    package Farewell;
    sub DESTROY { $_[0]{act}->(); return }
}
for my $next ([], [ frame => sub { $_[0] } ]) {
    my $ctx = EV::Websockets::Context->new;
    my $last = bless { act => sub { $ctx->DESTROY } }, 'Farewell';
    $ctx->topic('t', frame => do { my $held = $last; sub { $held } });
    undef $last;
    $ctx->topic('t', @$next);
    croaks_with(sub { $ctx->topics }, 'Context has been destroyed', 'a frame whose end destroys the context');
}

# A connection that ends in any way leaves without a trace, also while something is on its way to it.
for my $way (qw(close abort peer_close reset protocol_error drop)) {
    my $crowd = Crowd->new(peers => 3);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    for my $topic (map { "t$_" } 1 .. 50) {
        $_->subscribe($topic) for @conn;
    }
    $ctx->publish("t$_", 'before') for 1 .. 50;
    if    ($way eq 'close')          { $conn[1]->close }
    elsif ($way eq 'abort')          { $conn[1]->abort }
    elsif ($way eq 'peer_close')     { $crowd->peer(1)->send_close(1000) }
    elsif ($way eq 'reset')          { $crowd->peer(1)->hang_up(reset => 1) }
    elsif ($way eq 'protocol_error') { $crowd->peer(1)->put("\xFF\xFF") }
    else                             { $conn[1]->DESTROY }
    run_until(sub { $ctx->subscribers('t1') == 2 }, "$way: it has left");
    is($ctx->publish('t50', 'after'), 2, "$way: and is not published to");
    is(scalar @{ $crowd->got(0, 51) }, 51, "$way: others have got everything");
    is($ctx->subscribers("t$_"), 2, "$way: topic $_") for 1, 25, 50;
    $_->close for @conn[0, 2];
    run_until(sub { !$ctx->topics }, "$way: no topic is left when all are gone");
}

# Many topics, subscribed to and left in any order, against a model.
{
    my $crowd = Crowd->new(peers => 6);
    my ($ctx, @conn) = ($crowd->ctx, $crowd->conns);
    my (%model, @expected);
    srand 42;
    my $number = 0;
    for (1 .. 4000) {
        my ($who, $topic) = (int rand 6, 't' . int rand 30);
        my $what = rand;
        if ($what < 0.45) {
            $conn[$who]->subscribe($topic);
            $model{$topic}{$who} = 1;
        }
        elsif ($what < 0.8) {
            my $was = $conn[$who]->unsubscribe($topic);
            my $expected = delete $model{$topic}{$who};
            $was == !!$expected or fail("unsubscribe of $topic");
        }
        else {
            my $count = $ctx->publish($topic, ++$number);
            $count == keys %{ $model{$topic} || {} } or fail("publish to $topic: $count");
            push @{ $expected[$_] }, $number for keys %{ $model{$topic} || {} };
        }
    }
    for my $who (0 .. 5) {
        my %mine = map { $_ => 1 } grep { $model{$_}{$who} } keys %model;
        is_deeply([ sort $conn[$who]->topics ], [ sort keys %mine ], "the topics of $who");
        is_deeply($crowd->got($who, scalar @{ $expected[$who] }), $expected[$who], "the messages of $who");
    }
    is_deeply([ sort $ctx->topics ], [ sort grep { %{ $model{$_} } } keys %model ], 'the topics that are left');
}

# Clients subscribe as well, and what is published reaches them masked.
{
    my $pair = Pair->open;
    my $ctx = $pair->context;
    $pair->c->subscribe('both');
    $pair->s->subscribe('both');
    is($ctx->publish('both', 'hello'), 2, 'both ends of one connection');
    run_until(sub { $pair->client->count('message') && $pair->server->count('message') }, 'hear it');
    run_until(sub { $pair->server->count('drain') && $pair->client->count('drain') }, 'and of its queue');
    $pair->shut;
}

# Not open, not known, not a topic.
{
    my $crowd = Crowd->new(peers => 1);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    croaks_like(sub { $ctx->publish('t', undef) }, qr/^publish: data must be defined/, 'undef');
    croaks_like(sub { $ctx->publish('t', 'x', excpt => 1) }, qr/^publish: unknown option 'excpt': did you mean 'except'/,
        'a misspelling');
    croaks_like(sub { $conn->subscribe('t', on_slow => 'drop') },
        qr/^subscribe: on_slow must be 'close', 'drop_new', 'drop_old' or 'latest' \(got 'drop'\)/, 'on_slow');
    croaks_like(sub { $conn->subscribe('t', since => 5) },
        qr/^subscribe: since must be a reference to an array of an epoch and an offset \(got '5'\)/, 'since');
    croaks_like(sub { $ctx->topic('t', max_age => 5) }, qr/^topic: max_age is for what history keeps/, 'max_age alone');
    croaks_like(sub { $ctx->topic('t', history => -1) }, qr/^topic: history must be a whole number from 0/, 'history');
    $conn->close;
    croaks_with(sub { $conn->subscribe('t') }, 'Connection is not open', 'a connection that is closing');
    ok(!$conn->unsubscribe('t'), 'which can leave what it is not in');
    my $connecting = $ctx->connect(url => 'ws://127.0.0.1:' . $crowd->port, on_error => sub { });
    croaks_with(sub { $connecting->subscribe('t') }, 'Connection is not open', 'one that is connecting');
    $ctx->DESTROY;
    croaks_with(sub { $ctx->publish('t', 'x') }, 'Context has been destroyed', 'publish');
    croaks_with(sub { $ctx->topics }, 'Context has been destroyed', 'topics');
    is_deeply([ $conn->topics ], [], 'a connection without a context');
}

finish();
