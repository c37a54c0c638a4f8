#!/usr/bin/env perl
# A ticker of prices for clients of every speed. What becomes of the prices that
# a client is too slow for is its own choice here, by the path of its URL:
#
#   /close      its connection ends: it gets every price, or knows that it does not
#   /drop_new   it gets the old ones, and not those that came when its queue was full
#   /drop_old   it gets the newest that its queue has room for
#   /latest     it gets the newest of each symbol at least, whatever is dropped
#
# A real ticker has on_slow => 'latest' for everyone: an old price has no value,
# but the last price of what is seldom traded has one. The clients are in this
# program as well: one reads what it is sent, and four others read nothing until
# the market has closed. At the end there is a table of what each has got, and
# of how many symbols it knows the right price.
use strict;
use warnings;
use FindBin;
use lib "$FindBin::Bin/../blib/lib", "$FindBin::Bin/../blib/arch";
use EV;
use EV::Websockets;

use constant MAX_QUEUE => 64 * 1024;    # bytes that a client may be behind
use constant A_TURN    => 100;          # trades in one turn of the loop
use constant ENOUGH    => 10_000;       # prices that each slow client has to lose

my $ctx     = EV::Websockets::Context->new;
my @busy    = map { "BUSY$_" } 1 .. 10;
my @quiet   = map { "QUIET$_" } 1 .. 10;        # one trade of 500 is of these
my %cents   = map { $_ => 10_000 } @busy, @quiet;
my $trades  = 0;
my (%session, %client);                         # by the client's name: the market's end, and its own
my %last;                                       # what the former has counted, when it has ended

my $port = $ctx->listen(
    host             => '127.0.0.1',
    limits           => 'public',
    port             => 0,
    name             => 'ticker',
    max_message_size => 1024,
    max_send_queue   => MAX_QUEUE,
    on_handshake     => sub { $_[0]{Path} =~ m{\A/(?:close|drop_new|drop_old|latest)\z} },
    on_connect       => sub {
        my ($c, $headers) = @_;
        my ($on_slow) = $headers->{Path} =~ m{\A/(\w+)\z};
        $session{ $headers->{Query} } = $c;
        $c->subscribe('prices', on_slow => $on_slow);
        open_market() if keys %session == keys %client;
    },
    on_error => sub { my ($c, $text) = @_; print "market: fails a client: $text\n" },
    on_close => sub { my ($c) = @_; $last{$c} = $c->stats },
);

# One message is a symbol, its price and the best 30 bids. The symbol is what it is the
# latest of.
sub trade {
    my ($symbol) = $trades++ % 500 ? $busy[ rand @busy ] : $quiet[ rand @quiet ];
    $cents{$symbol} += 1 + int rand 10;
    my @bids = map { $cents{$symbol} - $_ } 1 .. 30;
    $ctx->publish('prices', "$symbol $cents{$symbol} @bids", key => $symbol);
}

# Trades whenever there is nothing else to do, so that who reads is not behind.
my $market;
sub open_market {
    print "market: opens for ", scalar(keys %session), " clients\n";
    $market = EV::idle sub {
        trade() for 1 .. A_TURN;
        close_market() if 3 == grep { $_->is_connected && $_->stats->{messages_dropped} >= ENOUGH } values %session;
    };
}

sub close_market {
    undef $market;
    print "market: closes after $trades trades\n";
    for my $name (keys %client) {
        my ($session, $client) = ($session{$name}, $client{$name});
        $client->{behind}  = $session->send_queue_size;
        $client->{dropped} = ($last{$session} || $session->stats)->{messages_dropped};
        $client->{conn}->resume_recv;
    }
    # The Close frame comes after what is queued, whoever is behind.
    $ctx->shutdown(timeout => 30, reason => 'the market has closed', cb => \&show);
}

sub show {
    my $row = "%-20s %9s %9s %16s %16s  %s\n";
    printf $row, 'client', 'got', 'dropped', 'then in queue', 'prices right', 'closed with';
    for my $name (sort keys %client) {
        my $client = $client{$name};
        my $right = grep { ($client->{cents}{$_} || 10_000) == $cents{$_} } keys %cents;
        printf $row, $name, @$client{qw(got dropped)}, "$client->{behind} bytes", "$right of " . keys %cents, $client->{closed};
    }
}

# ---- the clients, in a context of their own, as if they were other programs ----

my $elsewhere = EV::Websockets::Context->new;

sub enter {
    my ($name, $on_slow, $reads) = @_;
    my $self = $client{$name} = { got => 0, cents => {}, closed => '' };
    $self->{conn} = $elsewhere->connect(
        url        => "ws://127.0.0.1:$port/$on_slow?$name",
        on_connect => sub { my ($c) = @_; $c->pause_recv if !$reads },
        on_message => sub {
            my ($c, $text) = @_;
            my ($symbol, $cents) = split / /, $text, 3;
            $self->{got}++;
            $self->{cents}{$symbol} = $cents;
        },
        on_close => sub {
            my ($c, $code, $reason) = @_;
            $self->{closed} = "$code ($reason)";
        },
        on_error => sub { my ($c, $text) = @_; print "$name: failed: $text\n"; EV::break },
    );
}

enter('fast,close', 'close', 1);
enter("slow,$_", $_, 0) for qw(close drop_new drop_old latest);
EV::run;
