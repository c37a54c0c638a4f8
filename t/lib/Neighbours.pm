package Neighbours;

# The module beside another framework on one loop. Whoever runs the loop, the
# timers and sockets of both get on, in turns with each other.

use strict;
use warnings;
use EV;
use EV::Websockets;
use Run;
use Test::More;
use Exporter 'import';

our @EXPORT = qw(neighbours);

use constant ROUNDS => 20;

# What the framework does:
#   timer => sub { my ($cb) = @_ ... }       calls it again and again; returns what keeps the timer
#   lines => sub { my ($on_line) = @_ ... }  connects to its own server, which echoes lines behind "echo ";
#                                            returns what keeps the connection, and a sub that sends a line
#   run   => { NAME => sub { my ($start) = @_ ... } }
#            calls $start->($stop), and runs the loop until $stop was called
sub neighbours {
    my (%framework) = @_;
    my %run = (%{ $framework{run} }, 'EV::run' => sub {
        my ($start) = @_;
        $start->(sub { EV::break() });
        EV::run();
    });
    for my $name (sort keys %run) {
        my $seen = _play(\%framework, $run{$name}, $name);
        is($seen->{late}, 0, "$name: ends in time");
        is($seen->{$_}, ROUNDS, "$name: rounds of $_") for qw(lines messages);
        cmp_ok($seen->{timer}, '>=', 1, "$name: timers of the framework fire");
        cmp_ok($seen->{turns}, '>=', ROUNDS - 1, "$name: lines and messages come in turns");
        is($seen->{code}, 1000, "$name: closed");
    }
    return;
}

# A line goes out when a message has come, and a message when a line has, so
# that each side waits for the other; at the end a timer of theirs has fired,
# too.
sub _play {
    my ($framework, $run, $name) = @_;
    my %seen = (lines => 0, messages => 0, timer => 0, turns => 0, late => 0);
    my $context = EV::Websockets::Context->new;
    my $port = $context->listen(on_message => sub { $_[0]->send("echo $_[1]") });
    my ($stop, $conn, $say, @kept);
    my $turn = '';
    my $came = sub {
        my ($what) = @_;
        $seen{turns}++ if $turn ne $what;
        $turn = $what;
        $seen{$what}++;
    };
    my $last = sub { $conn->close if $seen{timer} && $seen{lines} == ROUNDS && $seen{messages} == ROUNDS };
    my $guard = EV::timer(30, 0, sub { $seen{late} = 1; $stop->() });
    $run->(sub {
        ($stop) = @_;
        (my $kept, $say) = $framework->{lines}->(sub {
            my ($line) = @_;
            is($line, "echo $seen{messages}", "$name: a line") if $line ne "echo $seen{messages}";
            $came->('lines');
            $seen{lines} < ROUNDS ? $conn->send($seen{lines}) : $last->();
        });
        push @kept, $kept, $framework->{timer}->(sub { $seen{timer}++; $last->() });
        $conn = $context->connect(
            url        => "ws://127.0.0.1:$port",
            on_connect => sub { $_[0]->send(0) },
            on_message => sub { $came->('messages'); $say->($seen{messages}) },
            on_close   => sub { $seen{code} = $_[1]; $stop->() },
            on_error   => sub { $seen{code} = $_[1]; $stop->() },
        );
    });
    return \%seen;
}

1;
