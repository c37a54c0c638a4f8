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
use Crowd;
use EV;
use EV::Websockets;
use EV::Websockets::Backplane;
use OwnRedis;
use Run;

# What a Backplane is given that no other process could be, and things that die where it is put together and sent: the
# message concerned is refused, and all others arrive.

{
    package Says;    # an object with a text, which a code ref makes
    use overload '""' => sub { $_[0]->() }, fallback => 1;
    sub new { my ($class, $code) = @_; return bless sub { $code->() }, $class }
}
{
    package Mortal;    # a client that dies of what is published, in time or for ever
    our @ISA = ('OwnRedis');
    our $dies = 0;
    sub command {
        my ($self, $callback, @words) = @_;
        die "no more strength\n" if $words[0] eq 'EVALSHA' && $words[2] > 2 && $dies && $dies--;
        return $self->SUPER::command($callback, @words);
    }
}

my $cluster = Cluster->new or BAIL_OUT('redis-server does not start');

# A context with a Backplane and two subscribers of `t` and `u`.
sub node {
    my ($client, %options) = @_;
    my $node = { refused => [], events => [] };
    my $crowd = $node->{crowd} = Crowd->new(peers => 2);
    my $ctx = $node->{ctx} = $crowd->ctx;
    $node->{backplane} = EV::Websockets::Backplane->new(
        $ctx,
        ($client =~ /\A(?:OwnRedis|Mortal)\z/ ? (redis => $client->new($cluster->socket)) : (redis => $cluster->url, client => $client)),
        retry      => 0.05,
        on_up      => sub { push @{ $node->{events} }, 'up' },
        on_down    => sub { push @{ $node->{events} }, "down: $_[1]" },
        on_refused => sub { push @{ $node->{refused} }, [ @_[ 1 .. 3 ] ] },
        %options,
    );
    for my $conn ($crowd->conns) {
        $conn->subscribe($_) for qw(t u);
    }
    run_until(sub { @{ $node->{events} } && 2 == grep { $_->{state} eq 'on' } values %{ $node->{backplane}{topics} } },
        "$client: up, and subscribed");
    return $node;
}

# What both subscribers have got, when nothing is pending any more and the last message is there.
sub arrived {
    my ($node, $count) = @_;
    my ($one, $two) = map { join ' ', @{ $node->{crowd}->got($_, $count) } } 0, 1;
    is($two, $one, 'both get the same');
    is($node->{backplane}->pending, 0, 'nothing is pending');
    return $one;
}

for my $client (Cluster::clients()) {
    my $node = node($client);
    my $ctx = $node->{ctx};

    # The bug: a key with a wide character was found out when its batch was packed or sent. That took the batch with it, and
    # nothing was published any more.
    my $wide = "\x{263a}";
    croaks_with { $ctx->publish('t', 'x', key => $wide) } 'publish: key must be bytes, and has characters beyond 255', "$client: a wide key";
    croaks_like { $ctx->publish('t', 'x', key => Says->new(sub { die "no text\n" })) } qr/\Ano text$/, "$client: a key that dies";
    croaks_like { $ctx->publish('t', 'x', binary => Says->new(sub { die "no flag\n" })) } qr/\Ano flag$/, "$client: a flag that dies";
    croaks_like { $ctx->publish(Says->new(sub { die "no name\n" }), 'x') } qr/\Ano name$/, "$client: a topic that dies";
    croaks_like { $ctx->publish('t', Says->new(sub { die "no data\n" })) } qr/\Ano data$/, "$client: data that die";
    is($node->{backplane}->pending, 0, "$client: none of them is kept");

    # The bug: objects were asked again when their batch was packed, and said something else, or died among others.
    my $reads = 0;
    my $once = sub { my ($text) = @_; my $is_read; return Says->new(sub { $reads++; die "read again\n" if $is_read++; $text }) };
    ok($ctx->publish('t', $once->('a'), key => $once->('k'), binary => $once->('')), "$client: objects");
    ok($ctx->publish('u', 'b', key => "\xE9$wide" =~ /(.)/), "$client: a key that perl has in UTF-8");
    my $data = 'c';
    ok($ctx->publish('t', $data), "$client: data that change afterwards");
    $data = 'd';
    is($reads, 3, "$client: each object is asked once, at the call");
    is(arrived($node, 3), 'a c b', "$client: and all of it arrives");

    # The bug: the back end was given the options before except was looked at, so that the subscribers here got nothing, but
    # a warning came; what was no reference at all died inside of the Backplane.
    my $other = Crowd->new(peers => 1);
    croaks_with { $ctx->publish('t', 'x', except => $other->conn(0)) } 'publish: except is a connection of another context', "$client: except of another context";
    croaks_with { $ctx->publish('t', 'x', except => 'junk') } q{publish: except must be an EV::Websockets::Connection (got 'junk')}, "$client: except that is none";

    # The bug: only was taken in silence, and everybody got what was for one.
    my $conn = $node->{crowd}->conn(0);
    croaks_with { $ctx->publish('t', 'secret', only => $conn) } 'publish: only needs local => 1: it is for a connection of this process', "$client: only";
    croaks_with { $ctx->publish('t', 'x', position => [ 'a' x 16, 1 ]) } 'publish: position needs local => 1: the back end counts', "$client: position";
    is($node->{backplane}->pending, 0, "$client: none of them is kept");
    is($ctx->publish('t', 'local', only => $conn, local => 1), 1, "$client: only, with local");
    is_deeply($node->{crowd}->got(0, 1), ['local'], "$client: and it is there");

    # The bug: of a text that perl has in UTF-8 the characters up to 255 were sent as octets, which no client takes, and with
    # utf8 what is no character was sent, which closed all subscribers.
    my $flagged = substr "caf\xE9$wide", 0, 4;
    ok($ctx->publish('t', $_), "$client: a text") for $flagged, "caf\xE9", "caf$wide";
    ok($ctx->publish('t', $_, utf8 => 1), "$client: characters") for $flagged, "caf\xE9";
    ok($ctx->publish('t', $flagged, binary => 1, utf8 => 1), "$client: octets");
    is(arrived($node, 6), "caf\xC3\xA9 caf\xE9 caf\xE2\x98\xBA caf\xC3\xA9 caf\xC3\xA9 caf\xE9", "$client: they go out as without a Backplane");
    {
        no warnings;
        croaks_with { $ctx->publish('t', chr 0xD800, utf8 => 1) }
            'publish: a character that cannot be sent: a surrogate, or one above U+10FFFF', "$client: no character";
    }

    # The bug: a time beyond what Redis takes for one had it refuse the whole batch, and one below a millisecond was for ever.
    for my $age (1e300, 1e-9) {
        $ctx->topic('t', history => 5, max_age => $age);
        $ctx->publish($_, "$age") for qw(t u);
        is(arrived($node, 2), "$age $age", "$client: max_age => $age");
    }
    is_deeply($node->{backplane}{set}{t}, [ 5, 1 ], "$client: a short time is one");
    is_deeply($node->{refused}, [], "$client: nothing was refused");
    is_deeply($node->{events}, ['up'], "$client: and Redis was there all the time");
    $node->{backplane}->close;
}

# The bug: when something died while a batch was sent, or put together, the batch was neither sent nor told of, and all that
# came behind it waited for ever.
{
    my $node = node('Mortal', prefix => 'mortal:');
    my $ctx = $node->{ctx};
    $Mortal::dies = 1;
    $ctx->publish('t', $_) for 1 .. 3;
    run_until(sub { !$Mortal::dies }, 'a client dies');
    $ctx->publish('t', 4) if run_until(sub { @{ $node->{events} } == 3 }, 'it is taken for lost, and made again');
    is("@{ $node->{events} }", 'up down: no more strength up', 'which is told');
    is(arrived($node, 4), '1 2 3 4', 'and nothing is lost, or twice');
    is_deeply($node->{refused}, [], 'or refused');
    $node->{backplane}->close;
}
{
    my $node = node('Mortal', prefix => 'dead:', max_pending_age => 1);
    my $ctx = $node->{ctx};
    $Mortal::dies = -1;
    $ctx->publish('t', 'x');
    run_until(sub { @{ $node->{refused} } }, 'a client that always dies: what it cannot send is given up');
    is_deeply($node->{refused}, [ [ 't', 'x', 'not confirmed: no more strength' ] ], 'and told');
    $Mortal::dies = 0;
    run_until(sub { $node->{backplane}->is_up }, 'when it has recovered');
    $ctx->publish('t', 'y');
    is(arrived($node, 1), 'y', 'the next one arrives');
    $node->{backplane}->close;
}
{
    my ($asked, $answer) = (0, sub { die "no history\n" });
    my $node = node('OwnRedis', prefix => 'history:', history => sub { $_[0] eq 'v' ? do { $asked++; $answer->() } : 0 });
    my $ctx = $node->{ctx};
    $ctx->publish('v', 'x');
    run_until(sub { $asked && !$node->{backplane}->pending }, 'a history that dies');
    like(join('', warned()), qr/\AEV::Websockets::Backplane: history: no history$/, 'is a warning');
    $answer = sub { return Says->new(sub { die "no number\n" }) };
    $ctx->publish($_, 'y') for 'v', 't';
    is(arrived($node, 1), 'y', 'and one whose text dies');
    like(join('', warned()), qr/\AEV::Websockets::Backplane: history: no number$/, 'is one, too');
    is_deeply($node->{refused}, [], 'nothing is refused');
    {
        local $SIG{__WARN__} = sub { die @_ };
        $ctx->publish($_, 'z') for 'v', 't';
        run_until(sub { @{ $node->{refused} } == 2 }, 'where a warning dies, what is in the batch is refused');
    }
    like($node->{refused}[0][2], qr/\AEV::Websockets::Backplane: history: no number$/, 'with the reason');
    is_deeply([ map { "@$_[0, 1]" } @{ $node->{refused} } ], [ 'v z', 't z' ], 'each of it');
    $ctx->publish('t', 'last');
    is(arrived($node, 1), 'last', 'and the next batch arrives');
    $node->{backplane}->close;
}

# What is not octets dies before it is kept, whoever lets it through.
{
    my $context = EV::Websockets::Context->new;
    my $backplane = EV::Websockets::Backplane->new($context, redis => OwnRedis->new('/nowhere'), while_down => 'keep', retry => 1000);
    for my $bad ([ "\x{263a}", {} ], [ 'x', { key => "\x{263a}" } ], [ 'x', { key => Says->new(sub { die "no key\n" }) } ]) {
        ok(!eval { $backplane->publish('t', @$bad); 1 }, 'it dies in publish');
        is($backplane->pending, 0, 'and is not kept');
    }
}

# ---- what it is made with ----

# The bug: an object was asked once to be checked, and once more to be kept. And a password that no octets can be had the
# connection fail again and again.
{
    my $context = EV::Websockets::Context->new;
    my $reads = 0;
    my $prefix = Says->new(sub { $reads++ ? "\x{263a}" : 'once:' });
    my $backplane = EV::Websockets::Backplane->new($context, redis => OwnRedis->new('/nowhere'), prefix => $prefix, retry => 1000);
    is($backplane->channel_of('x'), 'once:t:x', 'a prefix that changes');
    croaks_like { EV::Websockets::Backplane->new($context, redis => OwnRedis->new('/nowhere'), durable => undef) }
        qr/\Anew: durable must be true or false \(got undef\) at/, 'undef';
    for my $url ("redis://:pass\x{263a}\@127.0.0.1:1", "redis://us\x{263a}r:p\@127.0.0.1:1", "redis+unix:/\x{263a}") {
        croaks_like { EV::Websockets::Backplane->new($context, redis => $url) }
            qr/\Anew: redis must be .*: user, password and path are octets, and have characters beyond 255 at/, 'wide characters in a URL';
    }
    is($context->backplane, $backplane, 'it has the one that could be made');
}

finish();
