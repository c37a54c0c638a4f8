use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/lib";
use Crowd;
use EV;
use EV::Websockets;
use Frame;
use Run;
use Test::More;

# What a topic keeps, for subscribers that come back.

# A count of what was published, and the place of each message in what is sent.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, $one, $two) = ($crowd->ctx, $crowd->conns);
    is($ctx->position('t'), undef, 'nobody counts');
    my @framed;
    $ctx->topic('t', history => 3, frame => sub {
        push @framed, [@_];
        my ($data, $epoch, $offset) = @_;
        return "$epoch $offset $data";
    });
    my ($epoch, $offset) = @{ $ctx->position('t') };
    like($epoch, qr/\A[0-9a-f]{16}\z/, 'an epoch');
    is($offset, 0, 'and no message yet');
    $one->subscribe('t');
    $two->subscribe('t');
    $ctx->publish('t', "m$_") for 1 .. 5;
    is_deeply(\@framed, [ map { [ "m$_", $epoch, $_ ] } 1 .. 5 ], 'framed once a message, not once a subscriber');
    is_deeply($crowd->got(0, 5), [ map { "$epoch $_ m$_" } 1 .. 5 ], 'which is what is sent');
    is_deeply($ctx->position('t'), [ $epoch, 5 ], 'where it stands');
    is($ctx->publish('t', 'x', frame => sub { uc "$_[0]$_[2]" }), 2, 'a publication frames in its own way');
    is_deeply($crowd->got(1, 6)->[5], 'X6', 'and is counted as well');
    croaks_like(sub { $ctx->publish('t', $ctx->prepare('x')) }, qr/^publish: a message that is prepared cannot be framed/,
        'a prepared message');
    croaks_like(sub { $ctx->publish('u', 'x', frame => sub { 1 }) }, qr/^publish: frame is for a topic that has a history/,
        'a topic without a count');
    croaks_like(sub { $ctx->publish('t', 'x', frame => sub { undef }) }, qr/^publish: frame must return what is to be sent/,
        'a frame that returns nothing');
    croaks_like(sub { $ctx->publish('t', 'x', frame => sub { die "no\n" }) }, qr/^no$/, 'a frame that dies');
    croaks_like(sub { $ctx->publish('t', 'x', frame => sub { $ctx->publish('t', 'y', frame => sub { 'inner' }); 'outer' }) },
        qr/^publish: frame has published to the same topic/, 'a frame that publishes to the same topic');
    is_deeply($ctx->position('t')->[1], 7, 'of all these only the inner one was published');
    croaks_like(sub { $ctx->publish('t', 'x', frame => 'code') }, qr/^publish: frame must be a code reference/, 'no code');
}

# Resuming: all that was missed, or nothing of it and false.
{
    my $crowd = Crowd->new(peers => 1);
    my $ctx = $crowd->ctx;
    $ctx->topic('t', history => 5);
    my $start = $ctx->position('t');
    my $resume = sub {
        my ($since, $published) = @_;
        my $index = $crowd->join_in;
        my $all_there = $crowd->conn($index)->subscribe('t', since => $since);
        $ctx->publish('t', 'live');
        my $got = $crowd->got($index, 1);
        while ($got->[-1] ne 'live') { push @$got, @{ $crowd->got($index, 1) } }
        $crowd->conn($index)->unsubscribe('t');
        return ($all_there, @$got);
    };
    is_deeply([ $resume->($start) ], [ 1, 'live' ], 'nothing was missed');
    my $epoch = $start->[0];
    $ctx->publish('t', "m$_") for 2 .. 5;
    is_deeply([ $resume->($start) ], [ 1, 'live', 'm2', 'm3', 'm4', 'm5', 'live' ], 'everything');
    # Offsets are 1 to 6 now, of which 2 to 6 are kept.
    is_deeply([ $resume->([ $epoch, 4 ]) ], [ 1, 'm5', 'live', 'live' ], 'what came after the fourth');
    is_deeply([ $resume->([ $epoch, 1 ]) ], [ '', 'live' ], 'the second is gone: nothing, and false');
    for my $nonsense ([ $epoch, 99 ], [ 'f' x 16, 5 ], [ $epoch, '' ], [ undef, undef ], [ '', '1e1' ], [ $epoch, -1 ],
        [ $epoch, '9' x 30 ], [ 'x' x 16, 1 ], [ [], {} ], [ "\x{100}", 1 ]) {
        my ($all_there, @got) = $resume->($nonsense);
        ok(!$all_there, 'a place that nobody has been to: false');
        is_deeply(\@got, ['live'], 'and only what follows');
    }
}

# Nothing twice and no gap where publications are still on their way.
{
    my $crowd = Crowd->new(peers => 2);
    my ($ctx, $one, $two) = ($crowd->ctx, $crowd->conns);
    $ctx->topic('t', history => 100);
    my $start = $ctx->position('t');
    $one->subscribe('t');
    $ctx->publish('t', 1);
    $ctx->publish('t', 2);
    ok($two->subscribe('t', since => $start), 'in the same turn');
    ok($two->subscribe('t', since => $start), 'again, which sends nothing again');
    $ctx->publish('t', 3);
    is_deeply($crowd->got(0, 3), [ 1 .. 3 ], 'the one that was there');
    is_deeply($crowd->got(1, 3), [ 1 .. 3 ], 'the one that came');
    is_deeply($crowd->got(1, 0), [], 'and no more');
    $two->send_fragment('a', 0, 0);
    $two->unsubscribe('t');
    $two->subscribe('t', since => $start);
    $ctx->publish('t', 4);
    $two->send_fragment('b', 0, 1);
    is_deeply($crowd->got(1, 6), [ 'a', 'b', 1 .. 4 ], 'behind a fragmented message that was in progress');
}

# max_age, and what is forgotten with it. The deadline alone wakes the loop.
{
    my $crowd = Crowd->new(peers => 1);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    $ctx->topic('t', history => 10, max_age => 0.05);
    my $start = $ctx->position('t');
    $ctx->publish('t', 'old');
    my $over;
    my $timer = EV::timer(0.1, 0, sub { $over = 1 });
    run_unticked(sub { $over }, 'a moment later');
    ok(!$conn->subscribe('t', since => $start), 'it is too old');
    $conn->unsubscribe('t');
    ok($conn->subscribe('t', since => $ctx->position('t')), 'nothing was missed since');
}

# The options again: less is kept, more, none; and the topic goes.
{
    my $crowd = Crowd->new(peers => 1);
    my ($ctx, $conn) = ($crowd->ctx, $crowd->conn(0));
    $ctx->topic('t', history => 10);
    my $start = $ctx->position('t');
    $ctx->publish('t', $_) for 1 .. 5;
    $ctx->topic('t', history => 2);
    is_deeply($ctx->position('t'), [ $start->[0], 5 ], 'the count goes on');
    ok(!$conn->subscribe('t', since => [ $start->[0], 2 ]), 'less is kept');
    $conn->unsubscribe('t');
    ok($conn->subscribe('t', since => [ $start->[0], 3 ]), 'but that');
    is_deeply($crowd->got(0, 2), [ 4, 5 ], 'which is sent');
    $ctx->topic('t');
    is($ctx->position('t'), undef, 'nobody counts any more');
    is_deeply([ $ctx->topics ], ['t'], 'it has a subscriber');
    $conn->unsubscribe('t');
    is_deeply([ $ctx->topics ], [], 'it has gone');
    $ctx->topic('t', history => 10);
    isnt($ctx->position('t')->[0], $start->[0], 'a new count has a new epoch');
    is_deeply([ $ctx->topics ], ['t'], 'and keeps its topic');
}

finish();
