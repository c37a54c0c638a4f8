#!/usr/bin/env perl
# A client whose connection is cut at random, and that misses nothing. The server
# numbers what it publishes and keeps it for a while. The client remembers the two
# numbers of the last message that it has handled, and says them when it comes
# back. At the end it tells how often it was cut, and whether everything came once.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant LAST       => 2000;     # messages that are published, numbered from 1
use constant HANDFUL    => 5;        # of them at once
use constant EVERY      => 0.002;    # seconds between two handfuls
use constant CUTS       => 0.05;     # how probable a cut is after each
use constant BACK_AFTER => 0.05;     # seconds, at most; a real client waits longer each time

# ---- the server ----

my $server = EV::Websockets::Context->new;
my ($session, $conn, $publisher);    # both ends of the connection, and a timer
my ($published, $missed) = (0, 0);

# Each message goes out with its place: the epoch of the count, and the offset in it.
$server->topic('news', history => LAST, max_age => 60, frame => sub {
    my ($text, $epoch, $offset) = @_;
    return "$epoch $offset $text";
});

my $port = $server->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    port             => 0,
    max_message_size => 1024,
    on_message       => sub {
        my ($c, $request) = @_;
        if ($request eq 'ready') {
            $publisher = EV::timer 0, EVERY, \&publish if !$published;
            return;
        }
        my (undef, @since) = split / /, $request;    # "news", or "news EPOCH OFFSET"
        my $now = $server->position('news');
        if (@since == 2 && $c->subscribe('news', since => \@since)) {
            $missed += $now->[1] - $since[1];        # and is sent now
        }
        else {
            # A newcomer, or one for whom not everything is there any more, gets the
            # whole state here if there is one, and begins at this place.
            $c->subscribe('news');
            $c->send("at @$now");
        }
        $session = $c;
    },
);

sub publish {
    $server->publish('news', 'number ' . ++$published) for 1 .. HANDFUL;
    undef $publisher if $published >= LAST;
    # The fate: it cuts at either end. What the server has sent is lost with the connection.
    (rand() < 0.5 ? $session : $conn)->abort if rand() < CUTS;
}

# ---- the client, in a context of its own, as if it were another program ----

my $elsewhere = EV::Websockets::Context->new;
my (@place, %came, $retry);
my ($cuts, $gaps, $disorder, $newest) = (0, 0, 0, 0);

sub enter {
    $conn = $elsewhere->connect(
        url        => "ws://127.0.0.1:$port/",
        on_connect => sub { my ($c) = @_; $c->send(join ' ', 'news', @place) },
        on_message => sub {
            my ($c, $message) = @_;
            if ($message =~ /\Aat (\w+) (\d+)\z/) {
                $gaps++ if @place;
                @place = ($1, $2);
                $c->send('ready');             # who is cut before has no place to come back to
                return;
            }
            my ($epoch, $offset, $text) = split / /, $message, 3;
            my ($number) = $text =~ /(\d+)/;
            $came{$number}++;
            $disorder++ if $number != $newest + 1;
            $newest = $number;
            @place = ($epoch, $offset);    # now that the message has been handled
            $c->close if $number == LAST;
        },
        # One of the two says that there is no connection, or none any more.
        on_close => sub { my ($c, $code) = @_; $code == 1000 ? EV::break : come_back() },
        on_error => sub { my ($c) = @_; come_back() if $c->state eq 'closed' },
    );
}

sub come_back {
    print "client: is cut after number $newest\n";
    $cuts++;
    $retry = EV::timer rand BACK_AFTER, 0, \&enter;
}

enter();
EV::run;

my $once = grep { ($came{$_} || 0) == 1 } 1 .. LAST;
print "client: was cut $cuts times, and missed $missed messages that way\n";
print "client: $once of ", LAST, " messages came once, $gaps gaps, $disorder out of order\n";
