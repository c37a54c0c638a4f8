package FaultyFanout;

# A program that publishes to many while its system calls fail. Subscribers whose connection breaks come back and say where
# they were: of a topic with a history each gets every message, once and in order, whatever breaks; of one without, what
# comes is whole and in order. Prints what came of it as FaultyTalk does.
#
#     perl -MFaultyFanout -e 'FaultyFanout::run(@ARGV)' SUBSCRIBERS MESSAGES

use strict;
use warnings;
use EV;
use EV::Websockets;
use FaultyTalk;

my $PATIENCE = 8;      # seconds without progress
my $AT_ONCE  = 3;      # publications in a turn

my %count = map { $_ => 0 } qw(kept plain whole broken refused);

sub wrong { print "wrong: $_[0]\n"; return }

sub server {
    my ($context, $start, $over) = @_;
    return FaultyTalk::patiently('listen', sub {
        $context->listen(
            deflate    => { threshold => 100 },
            on_connect => sub { ${$over}++ },
            on_close   => sub { ${$over}-- },
            on_message => sub {
                my ($conn, $text) = @_;
                my ($epoch, $offset) = split / /, $text;
                $conn->subscribe('plain');
                $conn->subscribe('kept', since => $offset ? [ $epoch, $offset ] : $start) or wrong("nothing to resume at $text");
                # Neither may break what is published to it.
                $conn->unsubscribe('kept') && $conn->subscribe('kept') if $offset && $offset % 2;
            },
        );
    });
}

# One that comes back until it has everything.
sub subscriber {
    my ($context, $url, $total, $left) = @_;
    my ($epoch, $offset, $plain, $broke) = ('none', 0, 0, 0);
    my ($begin, $is_open);
    my $again = sub {
        my ($why) = @_;
        undef $is_open;
        $count{$why}++;
        $broke++;
        if ($broke > 2000) { wrong("a subscriber comes back without end"); ${$left}--; return }
        my $timer;
        $timer = EV::timer(0, 0, sub { undef $timer; $begin->() });
    };
    $begin = sub {
        eval {
            $context->connect(
                @$url,
                connect_timeout => 20,
                on_connect => sub { $is_open = 1; $_[0]->send("$epoch $offset") },
                on_message => sub {
                    my ($conn, $message) = @_;
                    if (my ($number, $body) = $message =~ /\Aplain (\d+) (.*)\z/s) {
                        $number > $plain or wrong("plain: $number after $plain");
                        $body eq FaultyTalk::payload($number) or wrong("plain: message $number is another");
                        $plain = $number;
                        $count{plain}++;
                        return;
                    }
                    my ($its_epoch, $number, $body) = $message =~ /\A(\w+) (\d+) (.*)\z/s or return wrong('no message');
                    $number == $offset + 1 or wrong("kept: $number after $offset");
                    $body eq FaultyTalk::payload($number) or wrong("kept: message $number is another");
                    ($epoch, $offset) = ($its_epoch, $number);
                    $count{kept}++;
                    $conn->close(1000) if $offset == $total;
                },
                on_error => sub { $again->('refused') if !$is_open },
                on_close => sub {
                    return $again->('broken') if $offset < $total;
                    $count{whole}++;
                    ${$left}--;
                    undef $begin;
                },
            );
            1;
        } or $again->('refused');
    };
    $begin->();
    return;
}

sub run {
    my ($subscribers, $total) = @_;
    local $SIG{__WARN__} = sub { wrong("warning: $_[0]") };
    my $before = FaultyTalk::descriptors();
    talk($subscribers, $total);
    my $late;
    my $guard = EV::timer($PATIENCE, 0, sub { $late = 1; EV::break });
    $guard->keepalive(0);
    EV::run;
    wrong('something keeps the loop') if $late;
    my $after = FaultyTalk::descriptors();
    wrong("$after descriptors in place of $before") if $after != $before;
    $count{turns} = EV::iteration();
    print map { "$_ $count{$_}\n" } sort keys %count;
    return;
}

sub talk {
    my ($subscribers, $total) = @_;
    my $context = EV::Websockets::Context->new(proxy => '');
    my $clients = EV::Websockets::Context->new(proxy => '');
    $context->topic('kept', history => $total, frame => sub { my ($data, $epoch, $offset) = @_; return "$epoch $offset $data" });
    my ($over, $left) = (0, $subscribers);
    my $port = server($context, $context->position('kept'), \$over);
    for my $number (1 .. $subscribers) {
        subscriber($clients, [ url => "ws://127.0.0.1:$port/", deflate => $number % 3 ? 0 : 1 ], $total, \$left);
    }
    my ($published, $plain, $turn) = (0, 0, 0);
    my $publish = EV::timer(0, 0.001, sub {
        # All of them have come once: from then on nothing of `plain` is missing unless something breaks.
        return if !$published && $context->subscribers('kept') < $subscribers;
        # One topic in a turn, which is written without a queue, or both.
        my $topics = $turn++ % 3;
        for (1 .. $AT_ONCE) {
            $context->publish('kept', FaultyTalk::payload(++$published)) if $topics != 1 && $published < $total;
            next if $topics == 0 || $plain == $total;
            my $text = 'plain ' . ++$plain . ' ' . FaultyTalk::payload($plain);
            $context->publish('plain', $plain % 2 ? $text : $context->prepare($text));
        }
    });
    my ($late, $progress) = (0, '');
    my $watch = EV::timer($PATIENCE, $PATIENCE, sub {
        my $now = join ' ', $published, map { $count{$_} } sort keys %count;
        $late = 1 if $now eq $progress;
        $progress = $now;
    });
    EV::run(EV::RUN_ONCE) while ($left || $over) && !$late;
    wrong("a standstill: $left subscribers and $over connections wait, $published were published") if $late;
    return;
}

1;
