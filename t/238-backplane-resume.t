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
use OwnRedis;
use Run;

# Subscribers that come back, to the context where they were or to another one, and get what they have missed from
# where they were: out of what is kept here, or out of a stream of Redis.

my $cluster = Cluster->new or BAIL_OUT('redis-server does not start');

# Clients say the topic and where they stand; what they are told has its place before it.
sub node {
    my ($client, %options) = @_;
    my $node = { missed => 0, returned => [] };
    my $context = $node->{context} = EV::Websockets::Context->new(proxy => '');
    my $history = delete $options{topic};
    $node->{backplane} = EV::Websockets::Backplane->new(
        $context,
        ($client eq 'OwnRedis' ? (redis => OwnRedis->new($cluster->socket)) : (redis => $cluster->url, client => $client)),
        retry => 0.05,
        on_up => sub { $node->{is_up} = 1 },
        delete $options{without_on_missed} ? () : (on_missed => sub { $node->{missed}++; $_[1]->send('MISSED') }),
        %options,
    );
    $context->topic('room', %$history, frame => sub { my ($data, $epoch, $offset) = @_; return "$epoch $offset $data" });
    $node->{port} = $context->listen(
        host       => '127.0.0.1',
        port       => 0,
        on_message => sub {
            my ($conn, $text) = @_;
            my ($epoch, $offset) = split / /, $text;
            my $is_complete = $conn->subscribe('room', defined $offset ? (since => [ $epoch, $offset ]) : ());
            push @{ $node->{returned} }, $is_complete ? 1 : 0;
            $conn->send('AT ' . join ' ', @{ $context->position('room') || [] });
        },
    );
    return $node;
}

# A client, which comes with its position.
sub come {
    my ($node, @position) = @_;
    my $events = Events->new;
    my $conn = $node->{context}->connect(
        url => "ws://127.0.0.1:$node->{port}/",
        $events->handlers(on_connect => sub { $_[0]->send("@position") }),
    );
    wait_until(sub { grep { /\AAT/ } $events->messages });
    return { events => $events, conn => $conn };
}

sub data_of { return [ map { (split / /)[2] } grep { !/\A(?:AT|MISSED)/ } $_[0]{events}->messages ] }

sub gets {
    my ($client, $expected, $name) = @_;
    local $Test::Builder::Level = $Test::Builder::Level + 1;
    wait_until(sub { @{ data_of($client) } >= @$expected });
    return is_deeply(data_of($client), $expected, $name);
}

for my $client (Cluster::clients()) {
    my @options = (prefix => "$client:", topic => { history => 1000, max_age => 300 });
    my @nodes = map { node($client, @options) } 1 .. 2;
    run_until(sub { 2 == grep { $_->{is_up} } @nodes }, "$client: two are up");
    my $ann = come($nodes[0]);
    wait_until(sub { $nodes[0]{context}->position('room') });
    $nodes[1]{context}->publish('room', $_) for 1 .. 5;
    gets($ann, [ 1 .. 5 ], "$client: five messages");
    my ($epoch, $offset) = (split / /, ($ann->{events}->messages)[-1]);
    is($offset, 5, "$client: the fifth");
    like($epoch, qr/\A[0-9a-f]{16}\z/, "$client: an epoch");
    is_deeply($nodes[0]{context}->position('room'), [ $epoch, 5 ], "$client: position");

    my $back = come($nodes[0], $epoch, 2);
    gets($back, [ 3 .. 5 ], "$client: what was missed, out of what is kept here");
    is($nodes[0]{returned}[-1], 1, "$client: true");
    my $there = come($nodes[1], $epoch, 3);
    gets($there, [ 4, 5 ], "$client: in another process, out of the stream");
    is($nodes[1]{returned}[-1], 1, "$client: true");
    my $up_to_date = come($nodes[1], $epoch, 5);
    $nodes[0]{context}->publish('room', 6);
    gets(@$_, "$client: and what comes from now on") for [ $ann, [ 1 .. 6 ] ], [ $back, [ 3 .. 6 ] ], [ $there, [ 4 .. 6 ] ];
    gets($up_to_date, [6], "$client: who had all gets the new one alone");

    # What is published while Redis is asked comes behind what was missed.
    my $third = node($client, @options);
    run_until(sub { $third->{is_up} }, "$client: a third one is up");
    my $timer = EV::timer(0, 0.0005, sub { $nodes[0]{context}->publish('room', $_[0]->data($_[0]->data + 1) + 1) });
    $timer->data(6);
    my @late = map { come($third, $epoch, $_) } 1, 4;
    wait_until(sub { $timer->data > 100 });
    $timer->stop;
    my $last = $timer->data;
    wait_until(sub { (data_of($ann)->[-1] || 0) == $last });
    gets($late[0], [ 2 .. $last ], "$client: nothing twice, nothing left out, in order");
    gets($late[1], [ 5 .. $last ], "$client: for each of those that come back");

    for my $nonsense ([ 'x', 1 ], [ $epoch, 'one' ], [ $epoch, -1 ], [ '0' x 16, 3 ], [ $epoch, 999_999 ]) {
        my $odd = come($nodes[0], @$nonsense);
        wait_until(sub { !$nodes[0]{returned}[-1] || $nodes[0]{missed} });
        ok(!$nodes[0]{returned}[-1] || $nodes[0]{missed}, "$client: @$nonsense: it is told that something may be missing");
        is_deeply(data_of($odd), [], "$client: and it is sent nothing");
        $nodes[0]{missed} = 0;
    }
    $_->{backplane}->close for @nodes, $third;
}

# ---- what is not there any more ----

{
    my @nodes = map { node('OwnRedis', prefix => 'short:', topic => { history => 10 }) } 1 .. 2;
    run_until(sub { 2 == grep { $_->{is_up} } @nodes }, 'two with a short history');
    my $ann = come($nodes[0]);
    $nodes[0]{context}->publish('room', $_) for 1 .. 1000;
    run_until(sub { @{ data_of($ann) } == 1000 }, 'a thousand messages');
    my ($epoch) = split / /, ($ann->{events}->messages)[-1];
    my $back = come($nodes[1], $epoch, 5);
    run_until(sub { $nodes[1]{missed} }, 'what is no longer in the stream: on_missed');
    wait_until(sub { $back->{events}->messages == 2 });
    is_deeply([ grep { !/\AAT/ } $back->{events}->messages ], ['MISSED'], 'and nothing of it is sent');
    $nodes[0]{context}->publish('room', 1001);
    gets($back, [1001], 'but what comes from now on');

    my $without = node('OwnRedis', prefix => 'short:', topic => { history => 10 }, without_on_missed => 1);
    run_until(sub { $without->{is_up} }, 'one without on_missed');
    come($without, $epoch, 1000);
    is($without->{returned}[-1], 0, 'says so at once, and does not ask');

    # A client that is gone, or has left, when Redis answers.
    my $fourth = node('OwnRedis', prefix => 'short:', topic => { history => 10 });
    run_until(sub { $fourth->{is_up} }, 'another one');
    my $leaving = $fourth->{context}->connect(
        url        => "ws://127.0.0.1:$fourth->{port}/",
        on_connect => sub { $_[0]->send("$epoch 1000"); $_[0]->abort },
    );
    my $staying = come($fourth, $epoch, 1000);
    gets($staying, [1001], 'one that stays gets what it missed');
    $_->{backplane}->close for @nodes, $without, $fourth;
}

# ---- a client that is cut at random ----

{
    my @nodes = map { node('OwnRedis', prefix => 'cut:', topic => { history => 5000 }) } 1 .. 3;
    run_until(sub { 3 == grep { $_->{is_up} } @nodes }, 'three processes');
    my $keeper = come($nodes[0]);
    wait_until(sub { $nodes[0]{context}->position('room') });
    my (@got, @position, $conn, $cuts, $published);
    @position = @{ $nodes[0]{context}->position('room') };
    srand 7;
    my $connect;
    $connect = sub {
        my $node = $nodes[ rand 3 ];
        $conn = $node->{context}->connect(
            url        => "ws://127.0.0.1:$node->{port}/",
            on_connect => sub { $_[0]->send("@position") },
            on_message => sub {
                my ($epoch, $offset, $data) = split / /, $_[1];
                push @got, 'MISSED' if $epoch eq 'MISSED';
                return if $epoch =~ /\A(?:AT|MISSED)/;
                push @got, $data;
                @position = ($epoch, $offset);
                if (rand() < 0.02) {
                    $cuts++;
                    $_[0]->abort;
                }
            },
            on_close => sub { $connect->() if $connect },
        );
    };
    $connect->();
    my $publishing = EV::timer(0, 0.001, sub { $nodes[ rand 3 ]{context}->publish('room', ++$published) if ($published || 0) < 1500 });
    run_until(sub { @got >= 1500 }, 'all messages came');
    undef $connect;
    cmp_ok($cuts, '>', 5, "in spite of $cuts cuts");
    # Three publish, so that their order is Redis'; what the one that was never cut has got is the measure.
    wait_until(sub { @{ data_of($keeper) } >= 1500 });
    is_deeply(\@got, data_of($keeper), 'each once, and in the order of who was never cut');
    $_->{backplane}->close for @nodes;
}

finish();
